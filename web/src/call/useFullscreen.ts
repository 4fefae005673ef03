import { useSyncExternalStore } from 'react';

export interface Fullscreen {
  isOn: boolean;
  isSupported: boolean;
  toggle: () => Promise<void>;
}

export function useFullscreen(): Fullscreen {
  const isOn = useSyncExternalStore(subscribe, () => document.fullscreenElement !== null);
  return { isOn, isSupported: document.fullscreenEnabled, toggle };
}

async function toggle(): Promise<void> {
  try {
    if (document.fullscreenElement === null) await document.documentElement.requestFullscreen();
    else await document.exitFullscreen();
  } catch {
    // The browser refused; the button stays as it was.
  }
}

function subscribe(changed: () => void): () => void {
  document.addEventListener('fullscreenchange', changed);
  return () => document.removeEventListener('fullscreenchange', changed);
}
