import { expect, test } from 'vitest';
import { hueOf, initials } from './avatar';

test.each([
  ['Ana', 'A'],
  ['Ana Maria Lopez', 'AL'],
  ['guest-7x', 'G7'],
  ['  ', '?'],
  ['😀 smile', '😀S'],
  ['会', '会'],
])('initials(%j) are %j', (name, letters) => {
  expect(initials(name)).toBe(letters);
});

test('a hue is steady, within the circle, and differs between people', () => {
  expect(hueOf('ana')).toBe(hueOf('ana'));
  const hues = Array.from({ length: 50 }, (_, index) => hueOf(`guest-${index}`));
  expect(hues.every((hue) => hue >= 0 && hue < 360)).toBe(true);
  expect(new Set(hues).size).toBeGreaterThan(30);
});
