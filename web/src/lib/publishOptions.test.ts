import { expect, test } from 'vitest';
import { roomOptions, tuningOf } from './publishOptions';

test.each([
  ['', 'vp8', true],
  ['?codec=vp9', 'vp9', true],
  ['?codec=AV1&single=0', 'av1', false],
  ['?codec=mpeg2', 'vp8', true],
])('tuningOf(%j)', (search, codec, singlePeerConnection) => {
  expect(tuningOf(search)).toEqual({ codec, singlePeerConnection });
});

test.each([
  ['vp8', false],
  ['h264', false],
  ['vp9', true],
  ['av1', true],
])('a camera in %s has a backup: %j', (codec, backupCodec) => {
  const options = roomOptions(tuningOf(`?codec=${codec}`), { mic: '', camera: '', speaker: '' });
  expect(options.publishDefaults).toMatchObject({ videoCodec: codec, backupCodec });
});

test('a device that nobody chose is left to the browser', () => {
  const options = roomOptions(tuningOf(''), { mic: '', camera: 'cam', speaker: '' });
  expect(options.audioCaptureDefaults).toEqual({});
  expect(options.videoCaptureDefaults).toMatchObject({ deviceId: 'cam' });
  expect(options).toMatchObject({
    adaptiveStream: true,
    dynacast: true,
    publishDefaults: { simulcast: true },
  });
});
