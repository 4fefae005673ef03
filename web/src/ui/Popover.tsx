import { useEffect, useRef, type ReactNode } from 'react';

interface Props {
  label: string;
  testId: string;
  align?: 'start' | 'end';
  onClose: () => void;
  children: ReactNode;
}

/** A small panel above the button that opened it; a click elsewhere or Escape closes it. */
export function Popover({ label, testId, align = 'start', onClose, children }: Props) {
  const panel = useRef<HTMLDivElement>(null);

  useEffect(() => {
    panel.current?.querySelector<HTMLElement>('select, button, a')?.focus();
    const outside = (event: PointerEvent): void => {
      const anchor = panel.current?.parentElement;
      if (event.target instanceof Node && anchor?.contains(event.target) !== true) onClose();
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [onClose]);

  return (
    <div
      ref={panel}
      className={`popover popover-${align}`}
      role="group"
      aria-label={label}
      data-testid={testId}
    >
      {children}
    </div>
  );
}
