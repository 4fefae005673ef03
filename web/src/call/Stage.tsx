import { useRef } from 'react';
import type { TrackReferenceOrPlaceholder } from '@livekit/components-react';
import { chooseFocus, type View } from '../lib/layout';
import { inviteLink } from '../lib/link';
import { CopyButton } from '../ui/CopyButton';
import { useSize } from '../ui/useSize';
import { GridView } from './GridView';
import { SpeakerView } from './SpeakerView';
import { candidateOf } from './tiles';
import { useLastSpeaker } from './useLastSpeaker';

interface Props {
  tracks: readonly TrackReferenceOrPlaceholder[];
  view: View;
  pinned: string | null;
  onPin: (id: string) => void;
  roomName: string;
  canInvite: boolean;
}

export function Stage({ tracks, view, pinned, onPin, roomName, canInvite }: Props) {
  const stage = useRef<HTMLDivElement>(null);
  const area = useSize(stage);
  const lastSpeaker = useLastSpeaker();
  const isAlone = tracks.every((track) => track.participant.isLocal);
  const focus = chooseFocus(tracks.map(candidateOf), pinned, lastSpeaker);

  return (
    <section className="stage" aria-label="Participants" data-testid="stage">
      <div className="stage-area" ref={stage}>
        {area.width > 0 &&
          (view === 'speaker' && tracks.length > 1 ? (
            <SpeakerView tracks={tracks} area={area} focus={focus} pinned={pinned} onPin={onPin} />
          ) : (
            <GridView tracks={tracks} area={area} pinned={pinned} onPin={onPin} />
          ))}
      </div>
      {isAlone && (
        <aside className="alone" data-testid="alone">
          <span>You are the only one here.</span>
          {canInvite && (
            <CopyButton
              text={inviteLink(location.origin, roomName)}
              label="Copy invite link"
              testId="copy-invite-alone"
              className="button button-small"
            />
          )}
        </aside>
      )}
    </section>
  );
}
