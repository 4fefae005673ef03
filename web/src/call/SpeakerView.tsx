import type { TrackReferenceOrPlaceholder } from '@livekit/components-react';
import type { Size } from '../lib/layout';
import { Tile } from './Tile';
import { tileId } from './tiles';

interface Props {
  tracks: readonly TrackReferenceOrPlaceholder[];
  area: Size;
  focus: string | null;
  pinned: string | null;
  onPin: (id: string) => void;
}

/** One tile large, the others in a strip: beside it on wide screens, below it on tall ones. */
export function SpeakerView({ tracks, area, focus, pinned, onPin }: Props) {
  const large = tracks.find((track) => tileId(track) === focus) ?? tracks[0];
  const others = tracks.filter((track) => track !== large);
  const isWide = area.width > area.height * 1.25;

  return (
    <div className={isWide ? 'speaker-view is-wide' : 'speaker-view'} data-testid="speaker-view">
      {large !== undefined && (
        <Tile key={tileId(large)} track={large} isLarge isPinned={pinned === tileId(large)} onPin={onPin} />
      )}
      <div className="strip" role="group" aria-label="Other participants">
        {others.map((track) => (
          <Tile key={tileId(track)} track={track} isPinned={pinned === tileId(track)} onPin={onPin} />
        ))}
      </div>
    </div>
  );
}
