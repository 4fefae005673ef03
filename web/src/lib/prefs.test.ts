import { expect, test } from 'vitest';
import { DEFAULT_PREFS, parsePrefs } from './prefs';

test.each([null, '', 'not json', '[]', '3', 'null', '{"name": 7, "view": "sideways", "micId": {}}'])(
  '%j falls back to the defaults',
  (stored) => {
    expect(parsePrefs(stored)).toEqual(DEFAULT_PREFS);
  },
);

test('what was stored comes back', () => {
  const stored = { ...DEFAULT_PREFS, name: 'Ana', micOn: false, cameraId: 'abc', view: 'speaker' as const };
  expect(parsePrefs(JSON.stringify(stored))).toEqual(stored);
});
