/** How a call is published, and how it comes back, with what the address may change for tests and for people who measure. */

import {
  DefaultReconnectPolicy,
  VideoPresets,
  videoCodecs,
  type RoomOptions,
  type VideoCodec,
} from 'livekit-client';

/**
 * Before each attempt to come back, ms; the first is spread over half a second, the others by half of themselves. The
 * second is short, unlike the SDK's own: where a node has died the first ends with its being told to join anew.
 */
const RETRIES_MS = [0, 100, 900, 2_700, 4_800, 7_000, 7_000, 7_000, 7_000, 7_000];

export interface CallTuning {
  /** `?codec=vp8|h264|vp9|av1` */
  codec: VideoCodec;
  /** `?single=0`: two peer connections, as older clients use. */
  singlePeerConnection: boolean;
}

export function tuningOf(search: string): CallTuning {
  const query = new URLSearchParams(search);
  const wanted = query.get('codec')?.toLowerCase();
  return {
    codec: videoCodecs.find((codec) => codec === wanted) ?? 'vp8',
    singlePeerConnection: query.get('single') !== '0',
  };
}

export function roomOptions(
  tuning: CallTuning,
  devices: { mic: string; camera: string; speaker: string },
): RoomOptions {
  return {
    adaptiveStream: true,
    dynacast: true,
    singlePeerConnection: tuning.singlePeerConnection,
    reconnectPolicy: new DefaultReconnectPolicy(RETRIES_MS),
    audioCaptureDefaults: captureOf(devices.mic),
    videoCaptureDefaults: { ...captureOf(devices.camera), resolution: VideoPresets.h720.resolution },
    audioOutput: captureOf(devices.speaker),
    publishDefaults: {
      simulcast: true,
      videoCodec: tuning.codec,
      // Not everybody decodes these: VP8 is sent while somebody in the room cannot.
      backupCodec: tuning.codec === 'vp9' || tuning.codec === 'av1',
    },
  };
}

/** No device means the browser's choice. */
export function captureOf(deviceId: string): { deviceId?: string } {
  return deviceId === '' ? {} : { deviceId };
}
