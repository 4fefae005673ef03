import { useEffect, useRef } from 'react';
import type { LocalVideoTrack } from 'livekit-client';
import { Avatar } from '../ui/Avatar';

interface Props {
  track: LocalVideoTrack | null;
  /** Why there is no track, if there is none. */
  state: 'starting' | 'off' | 'missing';
  name: string;
}

/** Oneself as others will see one, mirrored as in a looking-glass. */
export function CameraPreview({ track, state, name }: Props) {
  const video = useRef<HTMLVideoElement>(null);

  useEffect(() => {
    const element = video.current;
    if (track === null || element === null) return;
    track.attach(element);
    return () => void track.detach(element);
  }, [track]);

  const facesAway = track?.mediaStreamTrack.getSettings().facingMode === 'environment';
  return (
    <>
      <video
        ref={video}
        className={facesAway ? 'preview-video' : 'preview-video mirrored'}
        hidden={track === null}
        data-testid="preview-video"
        muted
        playsInline
      />
      {track === null && (
        <div className="preview-empty">
          {name !== '' && <Avatar identity={name} name={name} />}
          <p>
            {{ starting: 'Starting your camera…', off: 'Your camera is off', missing: 'No picture' }[state]}
          </p>
        </div>
      )}
    </>
  );
}
