import { useEffect, useRef } from 'react';
import type { Ending } from '../lib/endings';
import { navigate } from '../lib/router';
import { Icon } from '../ui/Icon';
import { Logo } from '../ui/Logo';

export function Ended({ ending, onRejoin }: { ending: Ending; onRejoin: () => void }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);

  return (
    <div className="page">
      <header className="page-header">
        <Logo />
      </header>
      <main className="centered" data-testid="ended" data-code={ending.code}>
        <h1 ref={heading} tabIndex={-1}>
          {ending.title}
        </h1>
        <p className="lead">{ending.text}</p>
        <div className="button-row">
          {ending.canRejoin && (
            <button type="button" className="button button-primary" data-testid="rejoin" onClick={onRejoin}>
              <Icon name="refresh" size={18} />
              Rejoin
            </button>
          )}
          <button type="button" className="button" data-testid="go-home" onClick={() => navigate('/')}>
            Go to the start page
          </button>
        </div>
      </main>
    </div>
  );
}
