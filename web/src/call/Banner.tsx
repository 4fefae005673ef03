import { useEffect, useState } from 'react';
import { ConnectionState, RoomEvent, type Room } from 'livekit-client';
import { StartAudio } from '@livekit/components-react';

type Link = 'up' | 'signal' | 'down' | 'back';

const BACK_SHOWN_MS = 3000;

/** Tells that the connection is lost and that it is back, and asks for a click where the browser blocks sound. */
export function Banner({ room }: { room: Room }) {
  const link = useLink(room);
  return (
    <div className="banners" aria-live="assertive">
      {link !== 'up' && (
        <div className={`banner banner-${link}`} data-testid="banner" data-state={link}>
          {link !== 'back' && <span className="spinner" aria-hidden="true" />}
          {
            {
              signal: 'Reconnecting to the server. You can keep talking.',
              down: 'Connection lost. Bringing you back…',
              back: 'You are back.',
            }[link]
          }
        </div>
      )}
      <StartAudio
        className="button button-primary start-audio"
        label="Turn on sound"
        data-testid="start-audio"
      />
    </div>
  );
}

function useLink(room: Room): Link {
  const [link, setLink] = useState<Link>('up');

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onState = (state: ConnectionState): void => {
      clearTimeout(timer);
      if (state === ConnectionState.Reconnecting) setLink('down');
      if (state === ConnectionState.SignalReconnecting) setLink('signal');
      if (state === ConnectionState.Connected) {
        setLink((old) => (old === 'up' ? 'up' : 'back'));
        timer = setTimeout(() => setLink('up'), BACK_SHOWN_MS);
      }
    };
    room.on(RoomEvent.ConnectionStateChanged, onState);
    return () => {
      clearTimeout(timer);
      room.off(RoomEvent.ConnectionStateChanged, onState);
    };
  }, [room]);

  return link;
}
