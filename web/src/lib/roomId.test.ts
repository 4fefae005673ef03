import { describe, expect, test } from 'vitest';
import { MAX_ROOM_LENGTH, newRoomId, toRoomName } from './roomId';

describe('newRoomId', () => {
  test('is two words and ten letters, and survives toRoomName', () => {
    const id = newRoomId();
    expect(id).toMatch(/^[a-z]+-[a-z]+-[0-9a-hjkmnp-tv-z]{5}-[0-9a-hjkmnp-tv-z]{5}$/);
    expect(toRoomName(id)).toBe(id);
  });

  test('every random byte changes it', () => {
    const base = newRoomId((length) => new Uint8Array(length));
    for (let at = 0; at < 12; at++) {
      const changed = newRoomId((length) => new Uint8Array(length).fill(1, at, at + 1));
      expect(changed).not.toBe(base);
    }
  });

  test('does not repeat', () => {
    expect(new Set(Array.from({ length: 500 }, () => newRoomId())).size).toBe(500);
  });
});

test.each([
  ['Team Breakfast', 'team-breakfast'],
  ['  --Über uns!! ', 'über-uns'],
  ['a / b \\ c', 'a-b-c'],
  ['r&d <script>', 'rd-script'],
  ['会议 1', '会议-1'],
  ['???', ''],
  ['..', ''],
  ['x'.repeat(200), 'x'.repeat(MAX_ROOM_LENGTH)],
])('toRoomName(%j) is %j', (typed, name) => {
  expect(toRoomName(typed)).toBe(name);
});
