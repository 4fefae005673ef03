/** How a call ended, in words. */

import { DisconnectReason } from 'livekit-client';

export interface Ending {
  code: 'left' | 'duplicate' | 'removed' | 'ended' | 'shutdown' | 'lost' | 'refused';
  title: string;
  text: string;
  /** Whether coming back makes sense. */
  canRejoin: boolean;
}

export function endingOf(reason: DisconnectReason | undefined): Ending {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return {
        code: 'left',
        title: 'You left the meeting',
        text: 'Gone by mistake? Step right back in.',
        canRejoin: true,
      };
    case DisconnectReason.DUPLICATE_IDENTITY:
      return {
        code: 'duplicate',
        title: 'You joined from somewhere else',
        text: 'The same invitation is in use in another tab or on another device, so this one was disconnected.',
        canRejoin: true,
      };
    case DisconnectReason.PARTICIPANT_REMOVED:
      return {
        code: 'removed',
        title: 'You were removed from the meeting',
        text: 'Somebody who runs this meeting ended your part in it.',
        canRejoin: false,
      };
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return {
        code: 'ended',
        title: 'The meeting has ended',
        text: 'It was closed for everyone.',
        canRejoin: false,
      };
    case DisconnectReason.SERVER_SHUTDOWN:
    case DisconnectReason.MIGRATION:
      return {
        code: 'shutdown',
        title: 'The server is restarting',
        text: 'Your meeting was interrupted. It usually takes less than a minute until you can rejoin.',
        canRejoin: true,
      };
    case DisconnectReason.JOIN_FAILURE:
    case DisconnectReason.USER_REJECTED:
      return {
        code: 'refused',
        title: 'The meeting did not let you in',
        text: 'Try again in a moment.',
        canRejoin: true,
      };
    default:
      return {
        code: 'lost',
        title: 'Connection lost',
        text: 'We tried for a while to bring you back. Check your network, then rejoin.',
        canRejoin: true,
      };
  }
}
