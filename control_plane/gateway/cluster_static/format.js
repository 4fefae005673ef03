/** Numbers as people read them. */

export function percent(share) {
  const value = 100 * share;
  return `${value.toFixed(value > 0 && value < 10 ? 1 : 0)} %`;
}

export function rate(bitsPerSecond) {
  if (bitsPerSecond >= 1e9) return `${(bitsPerSecond / 1e9).toFixed(2)} Gb/s`;
  return `${(bitsPerSecond / 1e6).toFixed(bitsPerSecond < 1e7 ? 2 : 1)} Mb/s`;
}

export function count(value) {
  return Math.round(value).toLocaleString('en');
}

export function milliseconds(value) {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** 1 node, 2 nodes. */
export function many(value, word) {
  return `${count(value)} ${word}${value === 1 ? '' : 's'}`;
}
