import { useEffect, useRef } from 'react';
import { actionOf, isTypingIn, type Action } from '../lib/shortcuts';

/** Keys of the call, while no dialog is open. */
export function useShortcuts(act: (action: Action) => void, isActive: boolean): void {
  const latest = useRef(act);
  useEffect(() => {
    latest.current = act;
  });

  useEffect(() => {
    if (!isActive) return;
    const onKey = (event: KeyboardEvent): void => {
      if (event.defaultPrevented) return;
      const { key, ctrlKey, metaKey, altKey, repeat } = event;
      const action = actionOf({ key, ctrlKey, metaKey, altKey, repeat, isTyping: isTypingIn(event.target) });
      if (action === null) return;
      event.preventDefault();
      latest.current(action);
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [isActive]);
}
