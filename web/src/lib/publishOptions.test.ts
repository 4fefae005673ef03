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
