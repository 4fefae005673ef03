import { useEffect, useState } from 'react';
import { Track, type Participant, type Room, type TrackPublication } from 'livekit-client';
import {
  connection,
  layerOf,
  received,
  sent,
  type Connection,
  type Entry,
  type ReceivedTrack,
  type SentTrack,
} from '../lib/callStats';

export interface TrackStats {
  id: string;
  identity: string;
  name: string;
  source: Track.Source;
  sent: SentTrack | null;
  received: ReceivedTrack | null;
  /** Which of the published layers it is, from the smallest. */
  layer: [number, number] | null;
}

export interface CallStats {
  connection: Connection;
  tracks: TrackStats[];
}

/** Often enough to see a freeze come, seldom enough to read. */
const INTERVAL_MS = 1000;

/** What the browser tells of every track, once a second as long as somebody looks. */
export function useCallStats(room: Room): CallStats | null {
  const [stats, setStats] = useState<CallStats | null>(null);
  useEffect(() => {
    let gone = false;
    let former = new Map<string, Entry[]>();
    const look = async (): Promise<void> => {
      const looked = await lookAt(room, former);
      former = looked.entries;
      if (!gone) setStats(looked.stats);
    };
    void look();
    const timer = setInterval(() => void look(), INTERVAL_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [room]);
  return stats;
}

async function lookAt(
  room: Room,
  former: ReadonlyMap<string, Entry[]>,
): Promise<{ stats: CallStats; entries: Map<string, Entry[]> }> {
  const entries = new Map<string, Entry[]>();
  const tracks: TrackStats[] = [];
  let path: Connection = { roundTrip: null, estimate: null };
  for (const [participant, publication] of publications(room)) {
    const report = await publication.track?.getRTCStatsReport();
    if (report === undefined) continue;
    const now = [...report.values()] as Entry[];
    const before = former.get(publication.trackSid) ?? [];
    entries.set(publication.trackSid, now);
    const seen = participant.isLocal ? null : received(now, before);
    const found = connection(now);
    path = {
      roundTrip: path.roundTrip ?? found.roundTrip,
      estimate: participant.isLocal ? (path.estimate ?? found.estimate) : path.estimate,
    };
    tracks.push({
      id: publication.trackSid,
      identity: participant.identity,
      name: participant.name ?? '',
      source: publication.source,
      sent: participant.isLocal ? sent(now, before) : null,
      received: seen,
      layer: layerOf(seen?.height ?? null, heightsOf(publication)),
    });
  }
  return { stats: { connection: path, tracks }, entries };
}

function heightsOf({ trackInfo }: TrackPublication): number[] {
  // Deprecated beside `codecs`, which tells the layers of each: with a single codec they are told here.
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  return trackInfo?.layers.map(({ height }) => height) ?? [];
}

/** One's own first. */
function publications(room: Room): [Participant, TrackPublication][] {
  const people: Participant[] = [room.localParticipant, ...room.remoteParticipants.values()];
  return people.flatMap((one) =>
    [...one.trackPublications.values()].map((publication): [Participant, TrackPublication] => [
      one,
      publication,
    ]),
  );
}
