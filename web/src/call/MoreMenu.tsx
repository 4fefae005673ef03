import type { View } from '../lib/layout';
import type { Action } from '../lib/shortcuts';
import { Icon, type IconName } from '../ui/Icon';

interface Props {
  view: View;
  isFullscreen: boolean;
  onAct: (action: Action) => void;
  onDevices: () => void;
}

/** What a small screen has no room for, and what one seldom needs. */
export function MoreMenu({ view, isFullscreen, onAct, onDevices }: Props) {
  return (
    <ul className="menu">
      <Item
        icon="people"
        label="Participants"
        testId="menu-people"
        visibleOn="narrow"
        onClick={() => onAct('people')}
      />
      <Item
        icon={view === 'grid' ? 'speakerView' : 'grid'}
        label={view === 'grid' ? 'Speaker view' : 'Grid view'}
        testId="menu-view"
        onClick={() => onAct('view')}
      />
      {document.fullscreenEnabled && (
        <Item
          icon={isFullscreen ? 'shrink' : 'expand'}
          label={isFullscreen ? 'Leave full screen' : 'Full screen'}
          testId="menu-fullscreen"
          onClick={() => onAct('fullscreen')}
        />
      )}
      <Item icon="stats" label="Call statistics" testId="menu-stats" onClick={() => onAct('stats')} />
      <Item icon="sliders" label="Devices" testId="menu-devices" onClick={onDevices} />
      <Item
        icon="keyboard"
        label="Keyboard shortcuts"
        testId="menu-help"
        visibleOn="keyboard"
        onClick={() => onAct('help')}
      />
    </ul>
  );
}

interface ItemProps {
  icon: IconName;
  label: string;
  testId: string;
  /** Narrow screens only, or devices with a keyboard only. */
  visibleOn?: 'narrow' | 'keyboard';
  onClick: () => void;
}

function Item({ icon, label, testId, visibleOn, onClick }: ItemProps) {
  return (
    <li className={visibleOn && `${visibleOn}-only`}>
      <button type="button" className="menu-item" data-testid={testId} onClick={onClick}>
        <Icon name={icon} size={19} />
        {label}
      </button>
    </li>
  );
}
