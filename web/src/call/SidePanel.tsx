import type { ReactNode } from 'react';
import { Icon } from '../ui/Icon';

interface Props {
  title: string;
  testId: string;
  onClose: () => void;
  children: ReactNode;
}

/** Beside the stage on wide screens, a sheet above it on phones. */
export function SidePanel({ title, testId, onClose, children }: Props) {
  return (
    <aside className="side-panel" aria-label={title} data-testid={testId}>
      <header className="side-header">
        <h2>{title}</h2>
        <button
          type="button"
          className="icon-button"
          aria-label={`Close ${title.toLowerCase()}`}
          onClick={onClose}
        >
          <Icon name="close" />
        </button>
      </header>
      {children}
    </aside>
  );
}
