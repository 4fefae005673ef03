import { useCallback, useEffect, useRef, useState } from 'react';
import type { LocalAudioTrack, LocalVideoTrack } from 'livekit-client';
import { hasMediaDevices } from '../lib/media';
import { INSECURE_PAGE, mediaProblem, type Device, type Problem } from '../lib/problems';

export interface Preview<T> {
  track: T | null;
  problem: Problem | null;
  isStarting: boolean;
  retry: () => void;
  /** Hands the track over: it is the caller's to stop. */
  take: () => T | null;
}

interface Outcome<T> {
  wish: string;
  track: T | null;
  problem: Problem | null;
}

/**
 * A local track for as long as it is wanted, restarted when another device is chosen.
 * `create` must keep its identity between renders.
 */
export function usePreviewTrack<T extends LocalAudioTrack | LocalVideoTrack>(
  device: Exclude<Device, 'screen'>,
  create: (deviceId: string) => Promise<T>,
  isWanted: boolean,
  deviceId: string,
): Preview<T> {
  const [attempt, setAttempt] = useState(0);
  const [outcome, setOutcome] = useState<Outcome<T> | null>(null);
  const live = useRef<T | null>(null);
  const taken = useRef(new Set<T>());
  const wish = `${attempt} ${deviceId}`;
  const isPossible = hasMediaDevices();

  useEffect(() => {
    if (!isWanted || !isPossible) return;
    let isCurrent = true;
    let started: T | null = null;
    const keep = taken.current;
    create(deviceId).then(
      (track) => {
        if (!isCurrent) {
          track.stop();
          return;
        }
        started = live.current = track;
        setOutcome({ wish, track, problem: null });
      },
      (error: unknown) => {
        if (isCurrent) setOutcome({ wish, track: null, problem: mediaProblem(error, device) });
      },
    );
    return () => {
      isCurrent = false;
      live.current = null;
      setOutcome(null);
      if (started !== null && !keep.has(started)) started.stop();
    };
  }, [create, device, deviceId, isPossible, isWanted, wish]);

  const current = isWanted && outcome?.wish === wish ? outcome : null;
  const take = useCallback(() => {
    if (live.current !== null) taken.current.add(live.current);
    return live.current;
  }, []);

  if (!isPossible)
    return { track: null, problem: INSECURE_PAGE, isStarting: false, retry: () => undefined, take };
  return {
    track: current?.track ?? null,
    problem: current?.problem ?? null,
    isStarting: isWanted && current === null,
    retry: () => setAttempt((count) => count + 1),
    take,
  };
}
