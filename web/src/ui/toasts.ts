/** Short notices that come and go by themselves. */

import { createContext, useCallback, useContext, useState } from 'react';

export interface Toast {
  id: number;
  text: string;
  tone: 'plain' | 'alarm';
}

export type Notify = (text: string, tone?: Toast['tone']) => void;

export const ToastContext = createContext<Notify>(() => undefined);

export function useNotify(): Notify {
  return useContext(ToastContext);
}

const AT_ONCE = 3;
const SHOWN_MS = { plain: 3500, alarm: 7000 };

export function useToasts(): { toasts: readonly Toast[]; notify: Notify; dismiss: (id: number) => void } {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  const dismiss = useCallback((id: number) => setToasts((old) => old.filter((toast) => toast.id !== id)), []);
  const notify = useCallback<Notify>(
    (text, tone = 'plain') => {
      const id = nextId++;
      setToasts((old) => [...old.slice(1 - AT_ONCE), { id, text, tone }]);
      setTimeout(() => dismiss(id), SHOWN_MS[tone]);
    },
    [dismiss],
  );
  return { toasts, notify, dismiss };
}

let nextId = 1;
