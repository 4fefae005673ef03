import { useCallback, useState } from 'react';
import { Track, type DisconnectReason, type Room } from 'livekit-client';
import { RoomAudioRenderer, RoomContext, useChat, useTracks } from '@livekit/components-react';
import { chooseView, type View } from '../lib/layout';
import { loadPrefs, savePrefs } from '../lib/prefs';
import type { Action } from '../lib/shortcuts';
import { Banner } from './Banner';
import { ChatPanel } from './ChatPanel';
import { ControlBar } from './ControlBar';
import { DevicesDialog } from './DevicesDialog';
import { HelpDialog } from './HelpDialog';
import { LeaveDialog } from './LeaveDialog';
import { PeoplePanel } from './PeoplePanel';
import { Stage } from './Stage';
import { StatsPanel } from './StatsPanel';
import { tileId } from './tiles';
import { TopBar } from './TopBar';
import { useCallEvents } from './useCallEvents';
import { useFullscreen } from './useFullscreen';
import { useMediaToggles } from './useMediaToggles';
import { useShortcuts } from './useShortcuts';

interface Props {
  room: Room;
  roomName: string;
  /** Whether the link alone lets somebody in. */
  canInvite: boolean;
  onEnd: (reason: DisconnectReason | undefined) => void;
}

export function Call(props: Props) {
  return (
    <RoomContext value={props.room}>
      <ConnectedCall {...props} />
      <RoomAudioRenderer />
    </RoomContext>
  );
}

type Panel = 'chat' | 'people' | 'stats';
type Dialog = 'leave' | 'help' | 'devices';

function ConnectedCall({ room, roomName, canInvite, onEnd }: Props) {
  useCallEvents(room, onEnd);
  const tracks = useTracks(
    [
      { source: Track.Source.Camera, withPlaceholder: true },
      { source: Track.Source.ScreenShare, withPlaceholder: false },
    ],
    { onlySubscribed: false },
  );
  const chat = useChat();
  const media = useMediaToggles(room);
  const fullscreen = useFullscreen();

  const [panel, setPanel] = useState<Panel | null>(null);
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const [pinned, setPinned] = useState<string | null>(null);
  const [preferred, setPreferred] = useState<View>(() => loadPrefs().view);
  const [whileSharing, setWhileSharing] = useState<View | null>(null);

  const isSharing = tracks.some((track) => track.source === Track.Source.ScreenShare);
  if (!isSharing && whileSharing !== null) setWhileSharing(null);
  const isPinned = pinned !== null && tracks.some((track) => pinned === tileId(track));
  const view = chooseView({ preferred, whileSharing, isSharing, isPinned });

  const seen = useSeenCount(chat.chatMessages.length, panel === 'chat');
  const unread = chat.chatMessages.length - seen;

  const switchView = (): void => {
    const next: View = view === 'grid' ? 'speaker' : 'grid';
    setPinned(null);
    if (isSharing) {
      setWhileSharing(next);
    } else {
      setPreferred(next);
      savePrefs({ view: next });
    }
  };
  const togglePanel = (which: Panel): void => setPanel((open) => (open === which ? null : which));
  const closePanel = useCallback(() => {
    setPanel(null);
    const opener = `[data-panel="${panel ?? ''}"], [data-panels~="${panel ?? ''}"]`;
    document.querySelector<HTMLElement>(opener)?.focus();
  }, [panel]);
  const leave = (): void => void room.disconnect();

  const actions: Record<Action, () => void> = {
    mic: () => void media.toggleMic(),
    camera: () => void media.toggleCamera(),
    screen: () => void media.toggleScreen(),
    chat: () => togglePanel('chat'),
    people: () => togglePanel('people'),
    stats: () => togglePanel('stats'),
    view: switchView,
    fullscreen: () => void fullscreen.toggle(),
    leave: () => setDialog('leave'),
    help: () => setDialog('help'),
    close: () => {
      if (panel !== null) closePanel();
    },
  };
  const act = (action: Action): void => actions[action]();
  useShortcuts(act, dialog === null);

  return (
    <div className="call" data-panel-open={panel !== null} data-testid="call" data-view={view}>
      <TopBar
        roomName={roomName}
        canInvite={canInvite}
        view={view}
        onSwitchView={switchView}
        fullscreen={fullscreen}
      />
      <Banner room={room} />
      <main className="call-main">
        <Stage
          tracks={tracks}
          view={view}
          pinned={isPinned ? pinned : null}
          onPin={(id) => setPinned((old) => (old === id ? null : id))}
          roomName={roomName}
          canInvite={canInvite}
        />
        {panel === 'chat' && <ChatPanel chat={chat} onClose={closePanel} />}
        {panel === 'people' && <PeoplePanel roomName={roomName} canInvite={canInvite} onClose={closePanel} />}
        {panel === 'stats' && <StatsPanel room={room} onClose={closePanel} />}
      </main>
      <ControlBar
        media={media}
        panel={panel}
        unread={unread}
        view={view}
        isFullscreen={fullscreen.isOn}
        onAct={act}
        onDevices={() => setDialog('devices')}
        onLeave={leave}
      />
      {dialog === 'leave' && <LeaveDialog onLeave={leave} onClose={() => setDialog(null)} />}
      {dialog === 'help' && <HelpDialog onClose={() => setDialog(null)} />}
      {dialog === 'devices' && <DevicesDialog onClose={() => setDialog(null)} />}
    </div>
  );
}

/** How many messages have been looked at: all of them while the chat is open. */
function useSeenCount(count: number, isOpen: boolean): number {
  const [seen, setSeen] = useState(0);
  if (isOpen && seen !== count) setSeen(count);
  return isOpen ? count : seen;
}
