/** From a name and a room to a connected call. */

import {
  Room,
  RoomEvent,
  Track,
  type LocalAudioTrack,
  type LocalTrack,
  type LocalVideoTrack,
} from 'livekit-client';
import { exposeRoom } from '../debug';
import { fetchGateways, requestToken, socketOrigin } from './api';
import { Gateways } from './gateways';
import { followGateways } from './gatewaySockets';
import { tabIdentity } from './identity';
import { tokenFor } from './invitation';
import { roomOptions, tuningOf } from './publishOptions';
import { loadPrefs } from './prefs';
import { readToken } from './token';

/** Longer misses nodes that came and went, shorter asks more. */
const LEARN_MS = 30_000;
/** Once more after joining: between nodes that share a room for the first time round trips are measured by then. */
const LEARN_AGAIN_MS = 3_000;

const gateways = new Gateways();
followGateways(gateways);

export interface JoinWish {
  room: string;
  name: string;
}

/** Errors are those of `api.ts` and livekit-client's `ConnectionError`; `joinProblem` puts them into words. */
export async function joinCall({ room: roomName, name }: JoinWish): Promise<Room> {
  const prefs = loadPrefs();
  const room = new Room(
    roomOptions(tuningOf(location.search), {
      mic: prefs.micId,
      camera: prefs.cameraId,
      speaker: prefs.speakerId,
    }),
  );
  exposeRoom(room);
  const invitation = tokenFor(roomName);
  if (invitation === null) {
    const identity = new URLSearchParams(location.search).get('identity') ?? tabIdentity();
    const { token, url } = await requestToken(roomName, identity, name);
    await room.connect(url, token);
    keepLearning(room, url, token);
  } else {
    const url = socketOrigin(location);
    await room.connect(url, invitation);
    keepLearning(room, url, invitation);
    if (readToken(invitation)?.name === null) rename(room, name);
  }
  return room;
}

/** While the call lasts: where it may go on when its gateway is gone. */
function keepLearning(room: Room, url: string, token: string): void {
  const learn = (): void =>
    void fetchGateways(token).then(
      (others) => gateways.learn(url, others),
      () => undefined,
    );
  learn();
  const again = setTimeout(learn, LEARN_AGAIN_MS);
  const timer = setInterval(learn, LEARN_MS);
  room.once(RoomEvent.Disconnected, () => {
    clearTimeout(again);
    clearInterval(timer);
  });
}

/** What to send first: a track of the preview, one yet to be started because the browser was slower than the person, or none. */
export interface FirstMedia {
  mic: LocalAudioTrack | 'start' | 'none';
  camera: LocalVideoTrack | 'start' | 'none';
}

/** `onFailure` is called once for each device that the browser or the server refused. */
export function publishFirstMedia(
  room: Room,
  { mic, camera }: FirstMedia,
  onFailure: (error: unknown, device: 'camera' | 'microphone') => void,
): void {
  const local = room.localParticipant;
  const first = async (
    media: LocalTrack | 'start' | 'none',
    source: Track.Source,
    start: () => Promise<unknown>,
  ) => {
    if (media === 'none') return;
    if (media === 'start') await start();
    else
      await local.publishTrack(media, { source }).catch((error: unknown) => {
        media.stop();
        throw error;
      });
  };
  first(mic, Track.Source.Microphone, () => local.setMicrophoneEnabled(true)).catch((error: unknown) =>
    onFailure(error, 'microphone'),
  );
  first(camera, Track.Source.Camera, () => local.setCameraEnabled(true)).catch((error: unknown) =>
    onFailure(error, 'camera'),
  );
}

/** An invitation without a name leaves it to the person, if its grants allow that; otherwise the identity shows. */
function rename(room: Room, name: string): void {
  room.localParticipant.setName(name).catch(() => undefined);
}
