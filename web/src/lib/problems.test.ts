import { ConnectionError, DisconnectReason } from 'livekit-client';
import { describe, expect, test } from 'vitest';
import { RefusedError, UnreachableError } from './api';
import { endingOf } from './endings';
import { INSECURE_PAGE, joinProblem, mediaProblem, withoutRepetition } from './problems';

describe('joinProblem', () => {
  test.each([
    ['no answer from the HTTP API', new UnreachableError('x'), 'unreachable'],
    ['no answer from the signaling', ConnectionError.serverUnreachable('x'), 'unreachable'],
    ['expired token', ConnectionError.notAllowed('token expired at 12:00', 401), 'token-expired'],
    ['forged token', ConnectionError.notAllowed('signature does not match', 401), 'token-refused'],
    ['full room by HTTP', new RefusedError(403, 'room is full (2 of 2)'), 'room-full'],
    ['full room by signaling', ConnectionError.notAllowed('room is full', 403), 'room-full'],
    ['unknown room', ConnectionError.notAllowed('requested room does not exist', 404), 'no-room'],
    ['no token endpoint', new RefusedError(404, ''), 'no-token'],
    ['too many requests', new RefusedError(429, ''), 'busy'],
    ['server error', new RefusedError(503, 'draining'), 'server-trouble'],
    ['full server by signaling', ConnectionError.internal('x', { status: 429 }), 'server-full'],
    ['server that drains', ConnectionError.internal('x', { status: 503 }), 'server-trouble'],
    ['refused for no reason', ConnectionError.internal('x', { status: 200 }), 'unknown'],
    ['timeout', ConnectionError.timeout('x'), 'timeout'],
    ['duplicate', ConnectionError.leaveRequest('x', DisconnectReason.DUPLICATE_IDENTITY), 'duplicate'],
    ['removed', ConnectionError.leaveRequest('x', DisconnectReason.PARTICIPANT_REMOVED), 'removed'],
    ['anything else', new Error('boom'), 'unknown'],
    ['not an error at all', 'boom', 'unknown'],
  ])('%s', (_, error, code) => {
    expect(joinProblem(error).code).toBe(code);
  });

  test('the words of the server are shown', () => {
    expect(joinProblem(ConnectionError.notAllowed('signature does not match', 401)).reason).toBe(
      'signature does not match',
    );
  });
});

describe('mediaProblem', () => {
  const named = (name: string, message = ''): Error => Object.assign(new Error(message), { name });

  test.each([
    ['NotAllowedError', 'camera-PermissionDenied'],
    ['NotFoundError', 'camera-NotFound'],
    ['NotReadableError', 'camera-DeviceInUse'],
    ['OverconstrainedError', 'camera-Other'],
  ])('camera: %s', (name, code) => {
    expect(mediaProblem(named(name), 'camera')?.code).toBe(code);
  });

  test.each([
    ['NotAllowedError', 'NotAllowedError', ['both-PermissionDenied']],
    ['NotFoundError', 'NotFoundError', ['both-NotFound']],
    ['NotFoundError', 'NotAllowedError', ['camera-NotFound', 'microphone-PermissionDenied']],
    ['NotReadableError', null, ['camera-DeviceInUse']],
    [null, null, []],
  ])('camera %s, microphone %s', (camera, mic, codes) => {
    const told = withoutRepetition(
      camera === null ? null : mediaProblem(named(camera), 'camera'),
      mic === null ? null : mediaProblem(named(mic), 'microphone'),
    );
    expect(told.map((problem) => problem.code)).toEqual(codes);
  });

  test('a page that may use neither says so once', () => {
    expect(withoutRepetition(INSECURE_PAGE, INSECURE_PAGE)).toEqual([INSECURE_PAGE]);
  });

  test('cancelling the choice of a screen is no problem', () => {
    expect(mediaProblem(named('NotAllowedError', 'Permission denied'), 'screen')).toBeNull();
  });

  test('a system that forbids screen capture is one', () => {
    const problem = mediaProblem(named('NotAllowedError', 'Permission denied by system'), 'screen');
    expect(problem?.code).toBe('screen-denied');
  });
});

test.each([
  [DisconnectReason.CLIENT_INITIATED, 'left', true],
  [DisconnectReason.DUPLICATE_IDENTITY, 'duplicate', true],
  [DisconnectReason.PARTICIPANT_REMOVED, 'removed', false],
  [DisconnectReason.ROOM_DELETED, 'ended', false],
  [DisconnectReason.SERVER_SHUTDOWN, 'shutdown', true],
  [DisconnectReason.STATE_MISMATCH, 'lost', true],
  [undefined, 'lost', true],
])('endingOf(%s) is %s', (reason, code, canRejoin) => {
  expect(endingOf(reason)).toMatchObject({ code, canRejoin });
});
