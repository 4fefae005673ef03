/** The token that came with the link, kept for this tab so that a reload and "Rejoin" still work. */

import { tokenOfFragment } from './link';

const key = (room: string): string => `pysfu.token.${room}`;

/** Takes the token out of the address bar, so that nobody hands on their own admission by copying the address. */
export function takeTokenFromAddress(room: string): void {
  const token = tokenOfFragment(location.hash);
  if (token === null) return;
  history.replaceState(history.state, '', location.pathname + location.search);
  try {
    sessionStorage.setItem(key(room), token);
  } catch {
    held.set(room, token);
  }
}

export function tokenFor(room: string): string | null {
  try {
    return sessionStorage.getItem(key(room)) ?? held.get(room) ?? null;
  } catch {
    return held.get(room) ?? null;
  }
}

/** Used where storage is forbidden: lives as long as the page. */
const held = new Map<string, string>();
