import { useEffect, useRef } from 'react';
import type { LocalVideoTrack } from 'livekit-client';
import { Avatar } from '../ui/Avatar';

interface Props {
  track: LocalVideoTrack | null;
  isStarting: boolean;
  name: string;
}

/** Oneself as others will see one, mirrored as in a looking-glass. */
export function CameraPreview({ track, isStarting, name }: Props) {
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
          <Avatar identity={name} name={name === '' ? '·' : name} />
          <p>{isStarting ? 'Starting your camera…' : 'Your camera is off'}</p>
        </div>
      )}
    </>
  );
}
