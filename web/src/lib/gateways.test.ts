import { describe, expect, test } from 'vitest';
import { Gateways, hasFailed } from './gateways';
import { followGateways } from './gatewaySockets';

const LOST = { wasOpen: true, byUs: false, code: 1006, silentMs: 10 };
const JOIN = '/rtc/v1?access_token=t';

function of(own: string, ...others: string[]): Gateways {
  const gateways = new Gateways();
  gateways.learn(own, others);
  return gateways;
}

describe('which gateway a connection goes to', () => {
  test('its own, until that fails, and then the next until that fails', () => {
    const gateways = of('ws://a:1', 'ws://a:1', 'http://b:1', 'ws://c:1/');
    expect(gateways.route(`ws://a:1${JOIN}`)).toBe(`ws://a:1${JOIN}`);
    gateways.closed(`ws://a:1${JOIN}`, LOST);
    expect(gateways.route(`ws://a:1${JOIN}`)).toBe(`ws://b:1${JOIN}`);
    gateways.opened(`ws://b:1${JOIN}`);
    expect(gateways.route(`ws://a:1${JOIN}`)).toBe(`ws://b:1${JOIN}`);
    gateways.closed(`ws://b:1${JOIN}`, LOST);
    expect(gateways.route(`ws://a:1${JOIN}`)).toBe(`ws://c:1${JOIN}`);
  });

  test('when all have failed it begins again', () => {
    const gateways = of('ws://a', 'ws://b');
    gateways.closed('ws://a/rtc', LOST);
    gateways.closed('ws://b/rtc', LOST);
    expect(gateways.route('ws://a/rtc')).toBe('ws://a/rtc');
  });

  test('one that is not named any more is left, one that is new is known', () => {
    const gateways = of('ws://a', 'ws://b');
    gateways.closed('ws://a/rtc', LOST);
    expect(gateways.route('ws://a/rtc')).toBe('ws://b/rtc');
    gateways.learn('ws://a', ['ws://c']);
    gateways.closed('ws://a/rtc', LOST);
    expect(gateways.route('ws://a/rtc')).toBe('ws://c/rtc');
  });

  test('other connections stay as they are, also where a name begins like a gateway', () => {
    const gateways = of('ws://a:78', 'ws://b');
    gateways.closed('ws://a:78/rtc', LOST);
    expect(gateways.route('ws://a:780/rtc')).toBe('ws://a:780/rtc');
    expect(gateways.route('wss://elsewhere/rtc')).toBe('wss://elsewhere/rtc');
    expect(new Gateways().route('ws://a/rtc')).toBe('ws://a/rtc');
  });

  test('a page that came by TLS takes no plain ones; paths before /rtc are kept', () => {
    const gateways = of('https://meet.example/one', 'http://b.example', 'https://meet.example/two/');
    gateways.closed('wss://meet.example/one/rtc', LOST);
    expect(gateways.route('wss://meet.example/one/rtc')).toBe('wss://meet.example/two/rtc');
  });
});

test.each([
  ['it was killed', LOST, true],
  ['it stops', { ...LOST, code: 1001 }, true],
  ['it said goodbye', { ...LOST, code: 1000 }, false],
  ['the session moves', { ...LOST, code: 1012 }, false],
  ['we left', { ...LOST, byUs: true, code: 1005 }, false],
  ['we gave up, for it was silent', { ...LOST, byUs: true, silentMs: 15_000 }, true],
  ['it never answered', { ...LOST, wasOpen: false, byUs: true }, true],
])('%s', (_, end, failed) => {
  expect(hasFailed(end)).toBe(failed);
});

test('sockets go where gateways say, and tell how they end', () => {
  class Socket extends EventTarget {
    constructor(readonly url: string | URL) {
      super();
    }
    close(): void {
      this.dispatchEvent(Object.assign(new Event('close'), { code: 1005 }));
    }
    breaks(code: number): void {
      this.dispatchEvent(Object.assign(new Event('close'), { code }));
    }
  }
  const scope = { WebSocket: Socket as unknown as typeof WebSocket };
  followGateways(of('ws://a', 'ws://b'), scope);
  const open = (): Socket => new scope.WebSocket('ws://a/rtc') as unknown as Socket;
  const first = open();
  expect(first.url).toBe('ws://a/rtc');
  first.dispatchEvent(new Event('open'));
  first.close();
  const second = open();
  expect(second.url).toBe('ws://a/rtc');
  second.dispatchEvent(new Event('open'));
  second.breaks(1006);
  expect(open().url).toBe('ws://b/rtc');
});
