import { describe, expect, test } from 'vitest';
import { connection, layerOf, received, sent, type Entry } from './callStats';

const codec: Entry = { id: 'C', type: 'codec', timestamp: 0, mimeType: 'video/VP8' };
const video = (change: Record<string, unknown>, timestamp: number): Entry => ({
  id: 'I1',
  type: 'inbound-rtp',
  timestamp,
  codecId: 'C',
  frameWidth: 1280,
  frameHeight: 720,
  framesPerSecond: 30,
  ...change,
});

describe('received', () => {
  const before = video(
    {
      bytesReceived: 1000,
      packetsReceived: 100,
      packetsLost: 1,
      jitterBufferDelay: 1,
      jitterBufferEmittedCount: 10,
    },
    1000,
  );
  const now = video(
    {
      bytesReceived: 251_000,
      packetsReceived: 295,
      packetsLost: 6,
      jitterBufferDelay: 4,
      jitterBufferEmittedCount: 60,
      freezeCount: 2,
      totalFreezesDuration: 1.5,
      retransmittedPacketsReceived: 4,
      fecPacketsReceived: 9,
    },
    3000,
  );

  test('rates are those since the last look', () => {
    expect(received([codec, now], [before])).toEqual({
      codec: 'VP8',
      size: '1280×720',
      height: 720,
      fps: 30,
      bitrate: 1_000_000,
      freezes: 2,
      frozen: 1.5,
      lost: 6,
      loss: 5 / 200,
      retransmitted: 4,
      parity: 9,
      buffer: 60,
      concealed: null,
    });
  });

  test('at first nothing is known of rates', () => {
    const seen = received([now], []);
    expect(seen).toMatchObject({ codec: null, bitrate: null, loss: null, buffer: null, freezes: 2, lost: 6 });
  });

  test('a stream that began anew has no past', () => {
    expect(received([before], [now])?.bitrate).toBeNull();
  });

  test('silence that is made up is heard by nobody', () => {
    const audio = (samples: number, concealed: number, silent: number): Entry => ({
      id: 'A',
      type: 'inbound-rtp',
      timestamp: samples,
      totalSamplesReceived: samples,
      concealedSamples: concealed,
      silentConcealedSamples: silent,
    });
    expect(received([audio(96_000, 5000, 200)], [audio(48_000, 0, 0)])?.concealed).toBe(0.1);
  });

  test.each([[[]], [[codec]]])('nothing of %o', (entries: Entry[]) => {
    expect(received(entries, [])).toBeNull();
  });
});

describe('sent', () => {
  const layer = (rid: string, frameHeight: number, change: Record<string, unknown> = {}): Entry => ({
    id: rid,
    type: 'outbound-rtp',
    timestamp: 2000,
    rid,
    codecId: 'C',
    frameWidth: (frameHeight * 16) / 9,
    frameHeight,
    framesPerSecond: 30,
    bytesSent: 25_000,
    qualityLimitationReason: 'none',
    ...change,
  });

  test('the best layer comes first, what is off is left out', () => {
    const entries = [
      codec,
      layer('q', 180, { active: true }),
      layer('h', 360, { qualityLimitationReason: 'bandwidth' }),
      layer('f', 720, { active: false }),
      { id: 'R', type: 'remote-inbound-rtp', timestamp: 2000, fractionLost: 0.02 },
    ];
    const before = [layer('h', 360, { timestamp: 1000, bytesSent: 0 })];
    expect(sent(entries, before)).toEqual({
      codec: 'VP8',
      layers: [
        { rid: 'h', size: '640×360', fps: 30, bitrate: 200_000, limitedBy: 'bandwidth' },
        { rid: 'q', size: '320×180', fps: 30, bitrate: null, limitedBy: null },
      ],
      loss: 0.02,
    });
  });

  test('nothing is sent', () => {
    expect(sent([codec], [])).toBeNull();
  });
});

describe('connection', () => {
  const pair = (id: string, change: Record<string, unknown> = {}): Entry => ({
    id,
    type: 'candidate-pair',
    timestamp: 0,
    currentRoundTripTime: 0.048,
    availableOutgoingBitrate: 3e6,
    ...change,
  });

  test.each([
    [
      'the one that the transport names',
      [
        pair('1', { currentRoundTripTime: 9 }),
        pair('2'),
        { id: 'T', type: 'transport', timestamp: 0, selectedCandidatePairId: '2' },
      ],
      { roundTrip: 48, estimate: 3e6 },
    ],
    [
      'else one that was nominated',
      [pair('1', { nominated: true, state: 'succeeded' })],
      { roundTrip: 48, estimate: 3e6 },
    ],
    [
      'not one that failed',
      [pair('1', { nominated: true, state: 'failed' })],
      { roundTrip: null, estimate: null },
    ],
    ['none', [], { roundTrip: null, estimate: null }],
  ])('%s', (_, entries: Entry[], expected) => {
    expect(connection(entries)).toEqual(expected);
  });
});

test.each([
  [720, [180, 360, 720], [3, 3]],
  [360, [720, 360, 180], [2, 3]],
  // Encoders round, and cameras turn.
  [176, [180, 360, 720], [1, 3]],
  [360, [360], null],
  [null, [180, 360], null],
  [0, [180, 360], null],
  [360, [0, 0], null],
])('layerOf(%o, %o) is %o', (height, published, expected) => {
  expect(layerOf(height, published)).toEqual(expected);
});
