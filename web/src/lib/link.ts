/** Links of the client: `/` is home, `/r/{room}` a meeting; an invitation may carry `#token=…`. */

import { MAX_ROOM_LENGTH, toRoomName } from './roomId';

export type Route = { page: 'home' } | { page: 'room'; room: string } | { page: 'unknown' };

export function routeOf(pathname: string): Route {
  if (pathname === '/' || pathname === '/index.html') return { page: 'home' };
  const encoded = /^\/r\/([^/]+)\/?$/.exec(pathname)?.[1];
  if (encoded === undefined) return { page: 'unknown' };
  try {
    const room = decodeURIComponent(encoded).trim();
    return room === '' || room.length > MAX_ROOM_LENGTH ? { page: 'unknown' } : { page: 'room', room };
  } catch {
    return { page: 'unknown' }; // a % that encodes nothing
  }
}

export function roomPath(room: string): string {
  return `/r/${encodeURIComponent(room)}`;
}

export function inviteLink(origin: string, room: string): string {
  return origin + roomPath(room);
}

/** The token of `#token=…`. A fragment never reaches a server or its log, which is why it travels there. */
export function tokenOfFragment(hash: string): string | null {
  const token = new URLSearchParams(hash.replace(/^#/, '')).get('token')?.trim();
  return token === undefined || token === '' ? null : token;
}

/** Where the room field of the home page leads: a pasted invitation of this site, or a room's name. */
export function destinationOf(typed: string, origin: string): string | null {
  const text = typed.trim();
  if (/^https?:\/\//i.test(text)) {
    try {
      const url = new URL(text);
      const isHere = url.origin === origin && routeOf(url.pathname).page === 'room';
      return isHere ? url.pathname + url.search + url.hash : null;
    } catch {
      return null;
    }
  }
  const room = toRoomName(text);
  return room === '' ? null : roomPath(room);
}
