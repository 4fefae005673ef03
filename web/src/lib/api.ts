/** The HTTP calls of the client. */

export interface ServerConfig {
  /** Development mode: the server hands out tokens to whoever asks. */
  dev: boolean;
  version: string;
}

export interface Admission {
  token: string;
  /** WebSocket origin to connect to. */
  url: string;
}

/** The server answered, and refused. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  constructor(
    readonly status: number,
    /** The server's own words; may be empty. */
    readonly reason: string,
  ) {
    super(reason === '' ? `HTTP ${status}` : reason);
  }
}

/** No answer came. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

const PATIENCE_MS = 10_000;

export async function fetchConfig(): Promise<ServerConfig> {
  const found = await call('/api/config', { method: 'GET' });
  return { dev: found.dev === true, version: typeof found.version === 'string' ? found.version : '' };
}

export async function requestToken(room: string, identity: string, name: string): Promise<Admission> {
  const found = await call('/api/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ room, identity, name }),
  });
  if (typeof found.token !== 'string')
    throw new RefusedError(502, 'The answer of the server had no token in it.');
  return { token: found.token, url: typeof found.url === 'string' ? found.url : socketOrigin(location) };
}

/** URLs of gateways at which a call may go on when its own is gone, the best first. */
export async function fetchGateways(token: string): Promise<string[]> {
  const { regions } = await call('/settings/regions', {
    method: 'GET',
    headers: { authorization: `Bearer ${token}` },
  });
  return Array.isArray(regions)
    ? regions.map((one: { url?: unknown } | null) => one?.url).filter((url) => typeof url === 'string')
    : [];
}

/** Where the gateway listens when the token came with the link: the origin of this page. */
export function socketOrigin({ protocol, host }: { protocol: string; host: string }): string {
  return `${protocol === 'https:' ? 'wss:' : 'ws:'}//${host}`;
}

/** The human part of an error body: `{"error": …}`, `{"message": …}`, `{"detail": …}` or plain text. */
export function reasonOf(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null) {
      const fields = parsed as Record<string, unknown>;
      const found = [fields.error, fields.message, fields.detail, fields.reason].find(
        (v) => typeof v === 'string',
      );
      return typeof found === 'string' ? found.slice(0, 300) : '';
    }
    return typeof parsed === 'string' ? parsed.slice(0, 300) : '';
  } catch {
    return body.trimStart().startsWith('<') ? '' : body.trim().slice(0, 300);
  }
}

async function call(path: string, init: RequestInit): Promise<Record<string, unknown>> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    throw new UnreachableError(`No answer from ${path}`, { cause: error });
  }
  if (!response.ok) throw new RefusedError(response.status, reasonOf(await response.text().catch(() => '')));
  const body: unknown = await response.json().catch(() => null);
  if (typeof body !== 'object' || body === null) {
    throw new RefusedError(502, `The answer to ${path} was not understood.`);
  }
  return body as Record<string, unknown>;
}
