import { useEffect, useState } from 'react';
import { RoomEvent, type Participant } from 'livekit-client';
import { useRoomContext } from '@livekit/components-react';

/** Nobody is shown large for less than this, or two people talking at once would flicker. */
const HOLD_MS = 1500;

/** Identity of the other participant who spoke last, loudest first. */
export function useLastSpeaker(): string | null {
  const room = useRoomContext();
  const [last, setLast] = useState<string | null>(null);

  useEffect(() => {
    let changedAt = -Infinity;
    let shown: string | null = null;
    const onSpeakers = (speakers: Participant[]): void => {
      const others = speakers.filter((speaker) => !speaker.isLocal);
      const loudest = others[0]?.identity;
      if (loudest === undefined || others.some((speaker) => speaker.identity === shown)) return;
      if (performance.now() - changedAt < HOLD_MS) return;
      changedAt = performance.now();
      shown = loudest;
      setLast(loudest);
    };
    room.on(RoomEvent.ActiveSpeakersChanged, onSpeakers);
    return () => void room.off(RoomEvent.ActiveSpeakersChanged, onSpeakers);
  }, [room]);

  return last;
}
