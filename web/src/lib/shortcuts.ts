/** Keys of the call. */

export type Action =
  | 'mic'
  | 'camera'
  | 'screen'
  | 'chat'
  | 'people'
  | 'stats'
  | 'view'
  | 'fullscreen'
  | 'leave'
  | 'help'
  | 'close';

export const SHORTCUTS: readonly { key: string; label: string; action: Action; does: string }[] = [
  { key: 'm', label: 'M', action: 'mic', does: 'Mute or unmute' },
  { key: 'v', label: 'V', action: 'camera', does: 'Camera on or off' },
  { key: 's', label: 'S', action: 'screen', does: 'Share your screen' },
  { key: 'c', label: 'C', action: 'chat', does: 'Open chat' },
  { key: 'p', label: 'P', action: 'people', does: 'Show who is here' },
  { key: 'i', label: 'I', action: 'stats', does: 'Show statistics of the call' },
  { key: 'g', label: 'G', action: 'view', does: 'Switch grid and speaker view' },
  { key: 'f', label: 'F', action: 'fullscreen', does: 'Full screen' },
  { key: 'l', label: 'L', action: 'leave', does: 'Leave the meeting' },
  { key: '?', label: '?', action: 'help', does: 'Show these shortcuts' },
  { key: 'Escape', label: 'Esc', action: 'close', does: 'Close a panel' },
];

export interface KeyPress {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  repeat: boolean;
  /** The key went into a text field or a list, where letters have their own meaning. */
  isTyping: boolean;
}

export function actionOf(press: KeyPress): Action | null {
  if (press.ctrlKey || press.metaKey || press.altKey || press.repeat) return null;
  const key = press.key.length === 1 ? press.key.toLowerCase() : press.key;
  if (press.isTyping && key !== 'Escape') return null;
  return SHORTCUTS.find((shortcut) => shortcut.key === key)?.action ?? null;
}

export function isTypingIn(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName))
  );
}
