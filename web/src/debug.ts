import type { Room } from 'livekit-client';

declare global {
  interface Window {
    /** The room of the current call: a debugging aid for the console and for end-to-end tests, used by nothing else. */
    __room?: Room;
  }
}

export function exposeRoom(room: Room): void {
  window.__room = room;
}
