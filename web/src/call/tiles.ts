/** A tile: one participant's camera (or the lack of it), or one shared screen. */

import { Track } from 'livekit-client';
import type { TrackReferenceOrPlaceholder } from '@livekit/components-react';
import type { Candidate } from '../lib/layout';

/** Stable as long as the participant is here. */
export function tileId(track: TrackReferenceOrPlaceholder): string {
  return `${track.participant.identity}|${track.source}`;
}

export function isScreen(track: TrackReferenceOrPlaceholder): boolean {
  return track.source === Track.Source.ScreenShare;
}

export function candidateOf(track: TrackReferenceOrPlaceholder): Candidate {
  return {
    id: tileId(track),
    identity: track.participant.identity,
    isLocal: track.participant.isLocal,
    isScreen: isScreen(track),
  };
}

export function displayName(participant: { name?: string; identity: string }): string {
  return participant.name === undefined || participant.name === '' ? participant.identity : participant.name;
}
