import { expect, test } from 'vitest';
import { inBits, inCount, inFrames, inMilliseconds, inPercent, inSeconds } from './units';

test.each([
  [inBits(null), '–'],
  [inBits(0), '0 kb/s'],
  [inBits(149_600), '150 kb/s'],
  [inBits(999_499), '999 kb/s'],
  [inBits(999_500), '1.0 Mb/s'],
  [inBits(1_740_000), '1.7 Mb/s'],
  [inMilliseconds(null), '–'],
  [inMilliseconds(48.4), '48 ms'],
  [inPercent(null), '–'],
  [inPercent(0), '0 %'],
  [inPercent(0.0123), '1.2 %'],
  [inPercent(0.0996), '10 %'],
  [inPercent(1), '100 %'],
  [inSeconds(1.25), '1.3 s'],
  [inFrames(null), '–'],
  [inFrames(29.7), '30 fps'],
  [inCount(null), '–'],
  [inCount(12_345), '12,345'],
])('%s is %s', (told, expected) => {
  expect(told).toBe(expected);
});
