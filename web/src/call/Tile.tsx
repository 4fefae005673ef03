import { useState, type CSSProperties } from 'react';
import { ConnectionQuality, Track } from 'livekit-client';
import {
  VideoTrack,
  isTrackReference,
  useConnectionQualityIndicator,
  useIsMuted,
  useIsSpeaking,
  useParticipantInfo,
  type TrackReferenceOrPlaceholder,
} from '@livekit/components-react';
import { Avatar } from '../ui/Avatar';
import { Icon } from '../ui/Icon';
import { Quality } from './Quality';
import { displayName, isScreen, tileId } from './tiles';

interface Props {
  track: TrackReferenceOrPlaceholder;
  isLarge?: boolean;
  isPinned: boolean;
  onPin: (id: string) => void;
  style?: CSSProperties;
}

export function Tile({ track, isLarge = false, isPinned, onPin, style }: Props) {
  const { participant } = track;
  const info = useParticipantInfo({ participant });
  const name = displayName({ name: info.name, identity: info.identity ?? participant.identity });
  const isMicMuted = useIsMuted({ participant, source: Track.Source.Microphone });
  const isVideoMuted = useIsMuted(track);
  const isSpeaking = useIsSpeaking(participant);
  const { quality } = useConnectionQualityIndicator({ participant });

  const screen = isScreen(track);
  const hasVideo = isTrackReference(track) && !isVideoMuted;
  const isSilent = isMicMuted && !screen;
  const classes = [
    'tile',
    screen && 'is-screen',
    isLarge && 'is-large',
    isSpeaking && !isSilent && !screen && 'is-speaking',
    hasVideo && 'has-video',
  ];

  return (
    <article
      className={classes.filter(Boolean).join(' ')}
      style={style}
      aria-label={describe(name, participant.isLocal, screen, isSilent)}
      data-testid={screen ? `tile-${participant.identity}-screen` : `tile-${participant.identity}`}
      data-speaking={isSpeaking}
      data-muted={isSilent}
    >
      {hasVideo && <Picture track={track} isLocal={participant.isLocal} />}
      {!hasVideo && <Avatar identity={participant.identity} name={name} />}
      <div className="tile-tags">
        {isPinned && (
          <span className="tile-tag" title="Pinned">
            <Icon name="pin" size={15} />
          </span>
        )}
        {!screen && quality !== ConnectionQuality.Unknown && quality !== ConnectionQuality.Excellent && (
          <span className="tile-tag">
            <Quality quality={quality} />
          </span>
        )}
      </div>
      <div className="tile-label">
        {isSilent && (
          <span className="tile-muted" data-testid="muted-badge">
            <Icon name="micOff" size={15} />
          </span>
        )}
        {screen && <Icon name="screen" size={15} />}
        <span className="tile-name">{labelOf(name, participant.isLocal, screen)}</span>
      </div>
      <button
        type="button"
        className="tile-pin"
        aria-pressed={isPinned}
        aria-label={isPinned ? `Unpin ${name}` : `Pin ${name}`}
        title={isPinned ? 'Unpin' : 'Pin'}
        data-testid={`pin-${participant.identity}`}
        onClick={() => onPin(tileId(track))}
      >
        <Icon name="pin" size={18} />
      </button>
    </article>
  );
}

/** The video itself, hidden until its first frame so that no black flash is seen. */
function Picture({ track, isLocal }: { track: TrackReferenceOrPlaceholder; isLocal: boolean }) {
  const [isShown, setShown] = useState(false);
  if (!isTrackReference(track)) return null;
  const settings = isLocal ? track.publication.track?.mediaStreamTrack.getSettings() : undefined;
  const isMirrored = isLocal && !isScreen(track) && settings?.facingMode !== 'environment';
  return (
    <VideoTrack
      trackRef={track}
      className={['tile-video', isMirrored && 'mirrored', isShown && 'is-shown'].filter(Boolean).join(' ')}
      onLoadedData={() => setShown(true)}
      onPlaying={() => setShown(true)}
    />
  );
}

function labelOf(name: string, isLocal: boolean, screen: boolean): string {
  if (screen) return isLocal ? 'Your screen' : `${name}’s screen`;
  return isLocal ? `${name} (you)` : name;
}

function describe(name: string, isLocal: boolean, screen: boolean, isSilent: boolean): string {
  return labelOf(name, isLocal, screen) + (isSilent ? ', muted' : '');
}
