/** Errors as people should read them: what happened, and what to do about it. */

import {
  ConnectionError,
  ConnectionErrorReason,
  MediaDeviceFailure,
  type DisconnectReason,
} from 'livekit-client';
import { RefusedError, UnreachableError } from './api';
import { endingOf } from './endings';

export interface Problem {
  /** For tests and styles: stable. */
  code: string;
  title: string;
  advice: string;
  /** What the server said, word for word. */
  reason?: string;
}

export type Device = 'camera' | 'microphone' | 'screen';

/** Why a meeting could not be joined. */
export function joinProblem(error: unknown): Problem {
  if (error instanceof UnreachableError) return UNREACHABLE;
  if (error instanceof RefusedError) return refusal(error.reason, error.status);
  if (error instanceof ConnectionError) {
    switch (error.reason) {
      case ConnectionErrorReason.NotAllowed:
        return refusal(error.message, error.status as number | undefined);
      case ConnectionErrorReason.LeaveRequest: {
        const reason: unknown = error.context;
        const ending = endingOf(reason as DisconnectReason | undefined);
        return { code: ending.code, title: ending.title, advice: ending.text };
      }
      case ConnectionErrorReason.ServerUnreachable:
      case ConnectionErrorReason.ServiceNotFound:
        return UNREACHABLE;
      case ConnectionErrorReason.Timeout:
        return {
          code: 'timeout',
          title: 'The meeting did not answer in time',
          advice: 'The network may be slow, or a firewall may block UDP. Try again, or try another network.',
        };
      default:
        return unopened(error.message, error.context);
    }
  }
  return withReason(UNKNOWN, error instanceof Error ? error.message : '');
}

/** Why a camera, a microphone or a screen cannot be used. Null: the person changed their mind, nothing to say. */
export function mediaProblem(error: unknown, device: Device): Problem | null {
  if (device === 'screen') return screenProblem(error);
  const failure = MediaDeviceFailure.getFailure(error);
  const code = `${device}-${failure ?? 'Other'}`;
  switch (failure) {
    case MediaDeviceFailure.PermissionDenied:
      return {
        code,
        title: `Your browser blocks the ${device}`,
        advice: `Choose the icon beside the address, allow the ${device}, then try again. You can also join without it.`,
      };
    case MediaDeviceFailure.NotFound:
      return {
        code,
        title: `No ${device} found`,
        advice: `Plug one in and it will appear in the list. You can join without a ${device}.`,
      };
    case MediaDeviceFailure.DeviceInUse:
      return {
        code,
        title: `The ${device} is busy`,
        advice: `Another program may be using it. Close that program, or choose another ${device}.`,
      };
    default:
      return withReason(
        {
          code,
          title: `The ${device} could not be started`,
          advice: `Choose another ${device}, or join without one.`,
        },
        error instanceof Error ? error.message : '',
      );
  }
}

/** Camera and microphone fail together more often than not: one message then, not two. */
export function withoutRepetition(camera: Problem | null, mic: Problem | null): Problem[] {
  if (camera === null || mic === null) return [camera, mic].filter((found) => found !== null);
  if (camera.code === mic.code) return [camera];
  if (camera.code === 'camera-PermissionDenied' && mic.code === 'microphone-PermissionDenied') {
    return [
      {
        code: 'both-PermissionDenied',
        title: 'Your browser blocks camera and microphone',
        advice:
          'Choose the icon beside the address, allow both, then try again. Without them you can watch and listen.',
      },
    ];
  }
  if (camera.code === 'camera-NotFound' && mic.code === 'microphone-NotFound') {
    return [
      {
        code: 'both-NotFound',
        title: 'No camera or microphone found',
        advice: 'Plug one in and it will appear in the lists. Without them you can watch and listen.',
      },
    ];
  }
  return [camera, mic];
}

/** Browsers give cameras and microphones to secure pages only (W3C Media Capture §9: secure contexts). */
export const INSECURE_PAGE: Problem = {
  code: 'insecure-page',
  title: 'This page may not use a camera or microphone',
  advice: 'Browsers allow that over HTTPS and on localhost only. Open the meeting by its https:// address.',
};

function screenProblem(error: unknown): Problem | null {
  if (error instanceof Error && error.name === 'DeviceUnsupportedError') {
    return {
      code: 'screen-unsupported',
      title: 'This browser cannot share a screen',
      advice: 'Phones usually cannot. Join from a computer to share.',
    };
  }
  if (error instanceof Error && error.name === 'NotAllowedError') {
    const bySystem = /system/i.test(error.message);
    if (!bySystem) return null;
    return {
      code: 'screen-denied',
      title: 'Your system does not let the browser share the screen',
      advice: 'Allow screen recording for the browser in the system settings, then try again.',
    };
  }
  return withReason(
    {
      code: 'screen-other',
      title: 'The screen could not be shared',
      advice: 'Try again, or choose a window instead.',
    },
    error instanceof Error ? error.message : '',
  );
}

function refusal(message: string, status: number | undefined): Problem {
  if (/\bfull\b/i.test(message)) return ROOM_FULL;
  if (/expired/i.test(message)) return withReason(EXPIRED, message);
  if (/not exist|unknown room|no such room|not found/i.test(message)) {
    return withReason(
      {
        code: 'no-room',
        title: 'There is no such meeting',
        advice: 'Check the link, or ask who invited you.',
      },
      message,
    );
  }
  if (status === 401 || status === 403) return withReason(REFUSED, message);
  if (status === 404) return withReason(NO_TOKENS, message);
  if (status === 429) {
    return { code: 'busy', title: 'Too many attempts', advice: 'Wait a little, then try again.' };
  }
  if (status !== undefined && status >= 500) return withReason(SERVER_TROUBLE, message);
  return withReason(REFUSED, message);
}

/** A WebSocket that was refused: of the server's answer livekit-client tells the status alone. */
function unopened(message: string, context: unknown): Problem {
  const { status } = (context ?? {}) as { status?: number };
  if (status === 429) return SERVER_FULL;
  if (status !== undefined && status >= 500) return SERVER_TROUBLE;
  return withReason(UNKNOWN, message);
}

function withReason(problem: Problem, message: string): Problem {
  const reason = message.replace(/^could not establish signal connection: /i, '').trim();
  return reason === '' ? problem : { ...problem, reason };
}

const UNREACHABLE: Problem = {
  code: 'unreachable',
  title: 'The server cannot be reached',
  advice: 'Check your connection. If other pages open, the server may be down: try again in a minute.',
};
const ROOM_FULL: Problem = {
  code: 'room-full',
  title: 'This meeting is full',
  advice: 'Wait until somebody leaves, then try again.',
};
const SERVER_FULL: Problem = {
  code: 'server-full',
  title: 'The server has no place for you now',
  advice: 'Wait a little, then try again.',
};
export const EXPIRED: Problem = {
  code: 'token-expired',
  title: 'Your invitation has expired',
  advice: 'Ask who invited you for a new link.',
};
const REFUSED: Problem = {
  code: 'token-refused',
  title: 'Your invitation was not accepted',
  advice: 'Ask who invited you for a new link.',
};
export const NO_TOKENS: Problem = {
  code: 'no-token',
  title: 'You need an invitation link',
  advice: 'This server lets people in by personal links. Ask who invited you for yours.',
};
const SERVER_TROUBLE: Problem = {
  code: 'server-trouble',
  title: 'The server has a problem',
  advice: 'This is not your doing. Try again in a minute.',
};
const UNKNOWN: Problem = {
  code: 'unknown',
  title: 'The meeting could not be joined',
  advice: 'Try again. If it keeps happening, tell who runs this server.',
};
