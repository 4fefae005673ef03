import { useCallback, useEffect, useState } from 'react';
import type { DisconnectReason, Room } from 'livekit-client';
import { Call } from '../call/Call';
import type { ServerConfig } from '../lib/api';
import { endingOf, type Ending } from '../lib/endings';
import { tokenFor } from '../lib/invitation';
import { joinCall, publishFirstMedia, type FirstMedia } from '../lib/joinCall';
import { EXPIRED, joinProblem, mediaProblem, type Problem } from '../lib/problems';
import { isExpired, readToken } from '../lib/token';
import { useNotify } from '../ui/toasts';
import { Ended } from './Ended';
import { NeedInvitation } from './NeedInvitation';
import { Prejoin } from './Prejoin';

type Phase = { at: 'prejoin' } | { at: 'call'; room: Room } | { at: 'ended'; ending: Ending };

/** One meeting from the door to the way out. */
export function MeetingPage({ room: roomName, config }: { room: string; config: ServerConfig | null }) {
  const [phase, setPhase] = useState<Phase>({ at: 'prejoin' });
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isJoining, setJoining] = useState(false);
  const notify = useNotify();

  const join = async (name: string, takeMedia: () => FirstMedia): Promise<void> => {
    setJoining(true);
    setProblem(null);
    try {
      const room = await joinCall({ room: roomName, name });
      publishFirstMedia(room, takeMedia(), (error, device) => {
        const found = mediaProblem(error, device);
        if (found !== null) notify(`${found.title}. ${found.advice}`, 'alarm');
      });
      setPhase({ at: 'call', room });
    } catch (error) {
      setProblem(joinProblem(error));
    } finally {
      setJoining(false);
    }
  };

  const end = useCallback(
    (reason: DisconnectReason | undefined) => setPhase({ at: 'ended', ending: endingOf(reason) }),
    [],
  );
  useDisconnectOnLeave(phase.at === 'call' ? phase.room : null);

  switch (phase.at) {
    case 'prejoin':
      if (config?.dev === false && tokenFor(roomName) === null) return <NeedInvitation />;
      return (
        <Prejoin
          room={roomName}
          isDev={config?.dev === true}
          problem={problem ?? expiry(roomName)}
          isJoining={isJoining}
          onJoin={join}
        />
      );
    case 'call':
      return <Call room={phase.room} roomName={roomName} canInvite={config?.dev === true} onEnd={end} />;
    case 'ended':
      return <Ended ending={phase.ending} onRejoin={() => setPhase({ at: 'prejoin' })} />;
  }
}

/** An invitation that has run out is told before trying. */
function expiry(room: string): Problem | null {
  const token = tokenFor(room);
  const claims = token === null ? null : readToken(token);
  return claims !== null && isExpired(claims, Date.now() / 1000) ? EXPIRED : null;
}

/** The Back button leaves the call too. */
function useDisconnectOnLeave(room: Room | null): void {
  useEffect(() => {
    if (room === null) return;
    const leave = (): void => void room.disconnect();
    window.addEventListener('popstate', leave);
    return () => window.removeEventListener('popstate', leave);
  }, [room]);
}
