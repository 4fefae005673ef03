import { expect, test } from 'vitest';
import { reasonOf, socketOrigin } from './api';

test.each([
  ['{"error": "room is full"}', 'room is full'],
  ['{"message": "no"}', 'no'],
  ['{"detail": {"a": 1}, "reason": "late"}', 'late'],
  ['{"code": 7}', ''],
  ['"just text"', 'just text'],
  ['plain text\n', 'plain text'],
  ['<html><body>502</body></html>', ''],
  ['null', ''],
  ['', ''],
])('reasonOf(%j) is %j', (body, reason) => {
  expect(reasonOf(body)).toBe(reason);
});

test('a long reason is cut', () => {
  expect(reasonOf('x'.repeat(5000))).toHaveLength(300);
});

test.each([
  ['https:', 'meet.example', 'wss://meet.example'],
  ['http:', 'localhost:7880', 'ws://localhost:7880'],
])('socketOrigin(%s, %s)', (protocol, host, origin) => {
  expect(socketOrigin({ protocol, host })).toBe(origin);
});
