import { useCallback, useState } from 'react';
import type { View } from '../lib/layout';
import type { Action } from '../lib/shortcuts';
import { Icon, type IconName } from '../ui/Icon';
import { Popover } from '../ui/Popover';
import { CameraMenu, MicMenu } from './DeviceMenus';
import { MoreMenu } from './MoreMenu';
import type { MediaToggles } from './useMediaToggles';

interface Props {
  media: MediaToggles;
  panel: 'chat' | 'people' | 'stats' | null;
  unread: number;
  view: View;
  isFullscreen: boolean;
  onAct: (action: Action) => void;
  onDevices: () => void;
  onLeave: () => void;
}

type Menu = 'mic' | 'camera' | 'more';

export function ControlBar({ media, panel, unread, view, isFullscreen, onAct, onDevices, onLeave }: Props) {
  const [menu, setMenu] = useState<Menu | null>(null);
  const close = useCallback(() => setMenu(null), []);
  const toggle = (which: Menu): void => setMenu((open) => (open === which ? null : which));

  return (
    <div
      className="control-bar"
      role="toolbar"
      aria-label="Call controls"
      // Escape from inside a menu closes the menu and nothing else.
      onKeyDown={(event) => {
        if (event.key !== 'Escape' || menu === null) return;
        event.preventDefault();
        event.nativeEvent.stopImmediatePropagation();
        const opener = event.currentTarget.querySelector<HTMLElement>(`[data-menu="${menu}"]`);
        close();
        opener?.focus();
      }}
    >
      <div className="control-group">
        <div className="split">
          <MediaButton
            testId="toggle-mic"
            isOn={media.isMicOn}
            isBusy={media.pending === 'microphone'}
            icon={media.isMicOn ? 'mic' : 'micOff'}
            label={media.isMicOn ? 'Mute' : 'Unmute'}
            shortcut="M"
            onClick={() => onAct('mic')}
          />
          <MenuOpener
            menu="mic"
            label="Choose microphone and speaker"
            isOpen={menu === 'mic'}
            onClick={() => toggle('mic')}
          />
          {menu === 'mic' && (
            <Popover label="Sound devices" testId="mic-menu" onClose={close}>
              <MicMenu />
            </Popover>
          )}
        </div>
        <div className="split">
          <MediaButton
            testId="toggle-camera"
            isOn={media.isCameraOn}
            isBusy={media.pending === 'camera'}
            icon={media.isCameraOn ? 'camera' : 'cameraOff'}
            label={media.isCameraOn ? 'Stop camera' : 'Start camera'}
            shortcut="V"
            onClick={() => onAct('camera')}
          />
          <MenuOpener
            menu="camera"
            label="Choose camera"
            isOpen={menu === 'camera'}
            onClick={() => toggle('camera')}
          />
          {menu === 'camera' && (
            <Popover label="Camera" testId="camera-menu" onClose={close}>
              <CameraMenu />
            </Popover>
          )}
        </div>
        {media.canShare && (
          <button
            type="button"
            className={media.isSharing ? 'round-button is-active' : 'round-button'}
            aria-pressed={media.isSharing}
            aria-label={media.isSharing ? 'Stop sharing' : 'Share screen'}
            title={`${media.isSharing ? 'Stop sharing' : 'Share screen'} (S)`}
            data-testid="toggle-screen"
            disabled={media.pending === 'screen'}
            onClick={() => onAct('screen')}
          >
            <Icon name={media.isSharing ? 'screenStop' : 'screen'} />
          </button>
        )}
        <PanelButton
          which="chat"
          isOpen={panel === 'chat'}
          label="Chat"
          badge={unread}
          onClick={() => onAct('chat')}
        />
        <PanelButton
          which="people"
          isOpen={panel === 'people'}
          label="Participants"
          badge={0}
          onClick={() => onAct('people')}
        />
        <div className="split split-single">
          <button
            type="button"
            className="round-button"
            aria-label="More"
            title="More"
            aria-haspopup="true"
            aria-expanded={menu === 'more'}
            data-menu="more"
            data-panels="stats"
            data-testid="more"
            onClick={() => toggle('more')}
          >
            <Icon name="more" />
          </button>
          {menu === 'more' && (
            <Popover label="More" testId="more-menu" align="end" onClose={close}>
              <MoreMenu
                view={view}
                isFullscreen={isFullscreen}
                onAct={(action) => {
                  close();
                  onAct(action);
                }}
                onDevices={() => {
                  close();
                  onDevices();
                }}
              />
            </Popover>
          )}
        </div>
      </div>
      <button
        type="button"
        className="round-button leave-button"
        aria-label="Leave"
        title="Leave (L)"
        data-testid="leave"
        onClick={onLeave}
      >
        <Icon name="leave" />
        <span>Leave</span>
      </button>
    </div>
  );
}

interface MediaButtonProps {
  testId: string;
  isOn: boolean;
  isBusy: boolean;
  icon: IconName;
  label: string;
  shortcut: string;
  onClick: () => void;
}

function MediaButton({ testId, isOn, isBusy, icon, label, shortcut, onClick }: MediaButtonProps) {
  return (
    <button
      type="button"
      className={isOn ? 'round-button' : 'round-button is-off'}
      aria-pressed={isOn}
      aria-label={label}
      title={`${label} (${shortcut})`}
      data-testid={testId}
      disabled={isBusy}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

interface OpenerProps {
  menu: Menu;
  label: string;
  isOpen: boolean;
  onClick: () => void;
}

function MenuOpener({ menu, label, isOpen, onClick }: OpenerProps) {
  return (
    <button
      type="button"
      className="split-opener"
      aria-label={label}
      title={label}
      aria-haspopup="true"
      aria-expanded={isOpen}
      data-menu={menu}
      data-testid={`${menu}-devices`}
      onClick={onClick}
    >
      <Icon name="up" size={16} />
    </button>
  );
}

interface PanelButtonProps {
  which: 'chat' | 'people';
  isOpen: boolean;
  label: string;
  badge: number;
  onClick: () => void;
}

function PanelButton({ which, isOpen, label, badge, onClick }: PanelButtonProps) {
  const key = which === 'chat' ? 'C' : 'P';
  return (
    <button
      type="button"
      className={`round-button ${isOpen ? 'is-active' : ''} ${which === 'people' ? 'wide-only' : ''}`}
      aria-pressed={isOpen}
      aria-label={badge > 0 ? `${label}, ${badge} unread` : label}
      title={`${label} (${key})`}
      data-panel={which}
      data-testid={`toggle-${which}`}
      onClick={onClick}
    >
      <Icon name={which} />
      {badge > 0 && (
        <span className="badge" data-testid="unread">
          {badge > 99 ? '99+' : badge}
        </span>
      )}
    </button>
  );
}
