/** What the browser remembers of a person between meetings. */

import type { View } from './layout';

export interface Prefs {
  name: string;
  micOn: boolean;
  cameraOn: boolean;
  micId: string;
  cameraId: string;
  speakerId: string;
  view: View;
}

export const DEFAULT_PREFS: Prefs = {
  name: '',
  micOn: true,
  cameraOn: true,
  micId: '',
  cameraId: '',
  speakerId: '',
  view: 'grid',
};

const KEY = 'pysfu.prefs';

/** Stored text to preferences; anything unknown or of a wrong type falls back to its default. */
export function parsePrefs(stored: string | null): Prefs {
  let found: unknown = null;
  try {
    found = JSON.parse(stored ?? 'null');
  } catch {
    // Somebody else's text under our key: start afresh.
  }
  const values = typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {};
  const text = (name: keyof Prefs): string => {
    const value = values[name];
    return typeof value === 'string' ? value.slice(0, 256) : '';
  };
  const flag = (name: keyof Prefs): boolean => values[name] !== false;
  return {
    name: text('name'),
    micOn: flag('micOn'),
    cameraOn: flag('cameraOn'),
    micId: text('micId'),
    cameraId: text('cameraId'),
    speakerId: text('speakerId'),
    view: values.view === 'speaker' ? 'speaker' : 'grid',
  };
}

export function loadPrefs(): Prefs {
  try {
    return parsePrefs(localStorage.getItem(KEY));
  } catch {
    return DEFAULT_PREFS; // storage is forbidden in this browser
  }
}

export function savePrefs(change: Partial<Prefs>): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...loadPrefs(), ...change }));
  } catch {
    // Storage is forbidden or full: nothing is remembered, everything else works.
  }
}
