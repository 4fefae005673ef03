import { useParticipants } from '@livekit/components-react';
import type { View } from '../lib/layout';
import { inviteLink } from '../lib/link';
import { CopyButton } from '../ui/CopyButton';
import { Icon } from '../ui/Icon';
import type { Fullscreen } from './useFullscreen';

interface Props {
  roomName: string;
  canInvite: boolean;
  view: View;
  onSwitchView: () => void;
  fullscreen: Fullscreen;
}

export function TopBar({ roomName, canInvite, view, onSwitchView, fullscreen }: Props) {
  const count = useParticipants({ updateOnlyOn: [] }).length;
  return (
    <header className="top-bar">
      <h1 title={roomName}>{roomName}</h1>
      <span className="top-count" aria-label={`${count} here`} data-testid="count">
        <Icon name="people" size={16} />
        {count}
      </span>
      <div className="top-actions">
        {canInvite && (
          <CopyButton
            text={inviteLink(location.origin, roomName)}
            label="Invite"
            testId="copy-invite"
            className="button button-quiet button-small"
          />
        )}
        <button
          type="button"
          className="icon-button"
          aria-label={view === 'grid' ? 'Switch to speaker view' : 'Switch to grid view'}
          title={view === 'grid' ? 'Speaker view (G)' : 'Grid view (G)'}
          data-testid="toggle-view"
          onClick={onSwitchView}
        >
          <Icon name={view === 'grid' ? 'speakerView' : 'grid'} />
        </button>
        {fullscreen.isSupported && (
          <button
            type="button"
            className="icon-button wide-only"
            aria-label={fullscreen.isOn ? 'Leave full screen' : 'Full screen'}
            title="Full screen (F)"
            data-testid="toggle-fullscreen"
            onClick={() => void fullscreen.toggle()}
          >
            <Icon name={fullscreen.isOn ? 'shrink' : 'expand'} />
          </button>
        )}
      </div>
    </header>
  );
}
