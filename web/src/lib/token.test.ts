import { expect, test } from 'vitest';
import { isExpired, readToken } from './token';

function tokenOf(claims: unknown): string {
  const body = btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(claims))));
  return `e30.${body.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')}.sig`;
}

test('identity, name, room and expiry, in any script', () => {
  const claims = { sub: 'ana', name: 'Añа 会', exp: 100, video: { room: 'standup', roomJoin: true } };
  expect(readToken(tokenOf(claims))).toEqual({
    identity: 'ana',
    name: 'Añа 会',
    room: 'standup',
    expires: 100,
  });
});

test('what is missing is null', () => {
  const nothing = { identity: null, name: null, room: null, expires: null };
  expect(readToken(tokenOf({ video: null, exp: 'soon', name: '' }))).toEqual(nothing);
});

test.each(['', 'abc', 'a.b.c', 'a.!!.c', tokenOf(null), tokenOf('text')])('%j says nothing', (token) => {
  expect(readToken(token)).toBeNull();
});

test('expiry', () => {
  const claims = { identity: null, name: null, room: null, expires: 100 };
  expect(isExpired(claims, 99)).toBe(false);
  expect(isExpired(claims, 101)).toBe(true);
  expect(isExpired({ ...claims, expires: null }, 101)).toBe(false);
});
