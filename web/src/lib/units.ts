/** Quantities in words. What is not known is a dash. */

const UNKNOWN = '–';

export function inBits(bitsPerSecond: number | null): string {
  if (bitsPerSecond === null) return UNKNOWN;
  if (bitsPerSecond >= 999_500) return `${(bitsPerSecond / 1e6).toFixed(1)} Mb/s`;
  return `${String(Math.round(bitsPerSecond / 1e3))} kb/s`;
}

export function inMilliseconds(milliseconds: number | null): string {
  return milliseconds === null ? UNKNOWN : `${String(Math.round(milliseconds))} ms`;
}

export function inPercent(share: number | null): string {
  if (share === null) return UNKNOWN;
  return `${(share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
}

export function inSeconds(seconds: number): string {
  return `${seconds.toFixed(1)} s`;
}

export function inFrames(perSecond: number | null): string {
  return perSecond === null ? UNKNOWN : `${String(Math.round(perSecond))} fps`;
}

export function inCount(count: number | null): string {
  return count === null ? UNKNOWN : count.toLocaleString('en');
}
