/** Which of a cluster's gateways a connection goes to: the one where it is, until that one fails. */

/** A gateway answers a ping each 5 s: one that said nothing for longer is gone, whoever closes the connection. */
const SILENT_MS = 8_000;

export class Gateways {
  private known: string[] = [];
  private readonly failed = new Set<string>();
  private current: string | null = null;

  /** `own`: the one that the call was begun with; `others`: what it said last, the best first. Any of http(s), ws(s). */
  learn(own: string, others: readonly string[]): void {
    const base = socketBase(own);
    const secure = base.startsWith('wss:');
    // A page that came by TLS may not open plain connections (W3C Mixed Content).
    const fit = others.map(socketBase).filter((url) => url.startsWith('wss:') || !secure);
    this.known = [...new Set([base, ...fit])];
    for (const url of this.failed) if (!this.known.includes(url)) this.failed.delete(url);
    if (this.current === null || !this.known.includes(this.current)) this.current = base;
  }

  /** What to open instead of `url`. That of somebody who is no gateway stays as it is. */
  route(url: string): string {
    const from = this.of(url);
    if (from === null || this.current === null) return url;
    if (this.failed.has(this.current)) {
      const next = this.known.find((one) => !this.failed.has(one));
      // All have failed: from the beginning.
      if (next === undefined) this.failed.clear();
      this.current = next ?? this.known[0] ?? this.current;
    }
    return this.current + url.slice(from.length);
  }

  /** A connection was opened. */
  opened(url: string): void {
    const gateway = this.of(url);
    if (gateway !== null) this.failed.delete(gateway);
  }

  /** A connection has ended that way. */
  closed(url: string, end: End): void {
    const gateway = this.of(url);
    if (gateway !== null && hasFailed(end)) this.failed.add(gateway);
  }

  private of(url: string): string | null {
    return (
      this.known.find(
        (base) => url === base || (/^[/?]/.test(url.slice(base.length)) && url.startsWith(base)),
      ) ?? null
    );
  }
}

export interface End {
  wasOpen: boolean;
  /** This side closed it. */
  byUs: boolean;
  /** RFC 6455 section 7.4. */
  code: number;
  /** Since the last message. */
  silentMs: number;
}

/** How a gateway closes a connection that is to be opened again: with 1001 it stops, with these it does not. */
const GOES_ON = [1000, 1012];

/** Whether the gateway is to blame. */
export function hasFailed({ wasOpen, byUs, code, silentMs }: End): boolean {
  if (!wasOpen) return true;
  return silentMs > SILENT_MS || (!byUs && !GOES_ON.includes(code));
}

function socketBase(url: string): string {
  return url.replace(/^http/, 'ws').replace(/\/+$/, '');
}
