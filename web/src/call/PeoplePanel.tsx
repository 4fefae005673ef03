import { Track, type Participant } from 'livekit-client';
import {
  useConnectionQualityIndicator,
  useIsMuted,
  useIsSpeaking,
  useParticipantInfo,
  useParticipants,
} from '@livekit/components-react';
import { inviteLink } from '../lib/link';
import { Avatar } from '../ui/Avatar';
import { CopyButton } from '../ui/CopyButton';
import { Icon } from '../ui/Icon';
import { Quality } from './Quality';
import { SidePanel } from './SidePanel';
import { displayName } from './tiles';

interface Props {
  roomName: string;
  canInvite: boolean;
  onClose: () => void;
}

export function PeoplePanel({ roomName, canInvite, onClose }: Props) {
  const people = useParticipants({ updateOnlyOn: [] });
  return (
    <SidePanel title="Participants" testId="people-panel" onClose={onClose}>
      {canInvite && (
        <div className="side-top">
          <CopyButton
            text={inviteLink(location.origin, roomName)}
            label="Copy invite link"
            testId="copy-invite-people"
            className="button button-wide"
          />
        </div>
      )}
      {/* Without list markers, Safari forgets that it is a list. */}
      {/* eslint-disable-next-line jsx-a11y/no-redundant-roles */}
      <ul className="people" role="list">
        {people.map((person) => (
          <Person key={person.identity} person={person} />
        ))}
      </ul>
    </SidePanel>
  );
}

function Person({ person }: { person: Participant }) {
  const info = useParticipantInfo({ participant: person });
  const name = displayName({ name: info.name, identity: person.identity });
  const isMuted = useIsMuted({ participant: person, source: Track.Source.Microphone });
  const hasNoCamera = useIsMuted({ participant: person, source: Track.Source.Camera });
  const isSpeaking = useIsSpeaking(person);
  const { quality } = useConnectionQualityIndicator({ participant: person });
  return (
    <li className={isSpeaking ? 'person is-speaking' : 'person'} data-testid={`person-${person.identity}`}>
      <Avatar identity={person.identity} name={name} />
      <span className="person-name">
        {name}
        {person.isLocal && <span className="muted"> (you)</span>}
      </span>
      <span className="person-state">
        <Quality quality={quality} />
        <span role="img" aria-label={hasNoCamera ? 'Camera off' : 'Camera on'} data-off={hasNoCamera}>
          <Icon name={hasNoCamera ? 'cameraOff' : 'camera'} size={18} />
        </span>
        <span role="img" aria-label={isMuted ? 'Muted' : 'Microphone on'} data-off={isMuted}>
          <Icon name={isMuted ? 'micOff' : 'mic'} size={18} />
        </span>
      </span>
    </li>
  );
}
