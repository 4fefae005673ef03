/** What a token says, read without checking it: for showing only. The server decides. */

export interface TokenClaims {
  identity: string | null;
  name: string | null;
  room: string | null;
  /** Seconds since 1970, UTC. */
  expires: number | null;
}

export function readToken(token: string): TokenClaims | null {
  const body = token.split('.')[1];
  if (body === undefined) return null;
  try {
    const bytes = Uint8Array.from(atob(body.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isRecord(claims)) return null;
    const video = isRecord(claims.video) ? claims.video : {};
    return {
      identity: text(claims.sub),
      name: text(claims.name),
      room: text(video.room),
      expires: typeof claims.exp === 'number' ? claims.exp : null,
    };
  } catch {
    return null;
  }
}

export function isExpired(claims: TokenClaims, nowSeconds: number): boolean {
  return claims.expires !== null && claims.expires < nowSeconds;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
