import { describe, expect, test } from 'vitest';
import { destinationOf, inviteLink, routeOf, tokenOfFragment } from './link';

test.each([
  ['/', { page: 'home' }],
  ['/r/standup', { page: 'room', room: 'standup' }],
  ['/r/standup/', { page: 'room', room: 'standup' }],
  ['/r/a%20b%2Fc', { page: 'room', room: 'a b/c' }],
  ['/r/', { page: 'unknown' }],
  ['/r/%E0%A4%A', { page: 'unknown' }],
  ['/r/%20', { page: 'unknown' }],
  ['/r/a/b', { page: 'unknown' }],
  [`/r/${'x'.repeat(65)}`, { page: 'unknown' }],
  ['/elsewhere', { page: 'unknown' }],
])('routeOf(%j)', (path, route) => {
  expect(routeOf(path)).toEqual(route);
});

test('an invitation leads back to its room', () => {
  const link = new URL(inviteLink('https://meet.example', 'Ana’s room/2'));
  expect(routeOf(link.pathname)).toEqual({ page: 'room', room: 'Ana’s room/2' });
});

test.each([
  ['#token=a.b.c', 'a.b.c'],
  ['#x=1&token=a.b-_.c', 'a.b-_.c'],
  ['#token=', null],
  ['#', null],
  ['', null],
  ['#a.b.c', null],
])('tokenOfFragment(%j) is %j', (hash, token) => {
  expect(tokenOfFragment(hash)).toBe(token);
});

describe('destinationOf', () => {
  const origin = 'https://meet.example';
  test.each([
    ['My Room', '/r/my-room'],
    ['https://meet.example/r/standup', '/r/standup'],
    ['https://meet.example/r/standup#token=a.b.c', '/r/standup#token=a.b.c'],
    ['https://evil.example/r/standup', null],
    ['https://meet.example/', null],
    ['https://', null],
    ['!!!', null],
  ])('%j leads to %j', (typed, path) => {
    expect(destinationOf(typed, origin)).toBe(path);
  });
});
