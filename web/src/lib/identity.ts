/** Who this tab is, where the server lets the client say so (development mode). */

const KEY = 'pysfu.identity';

let current: string | null = null;

/**
 * The same identity after a reload, so that one replaces oneself instead of standing beside one's ghost;
 * a new one for a new tab (a duplicated tab copies the storage, hence the look at how the page was reached).
 */
export function tabIdentity(): string {
  current ??= (wasReloaded() ? stored() : null) ?? fresh();
  try {
    sessionStorage.setItem(KEY, current);
  } catch {
    // Storage is forbidden: a reload will be somebody new.
  }
  return current;
}

function wasReloaded(): boolean {
  const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
  return navigation?.type === 'reload';
}

function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function fresh(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return `guest-${Array.from(bytes, (byte) => (byte % 36).toString(36)).join('')}`;
}
