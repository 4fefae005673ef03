import { useEffect, useState } from 'react';
import { copyText } from '../lib/clipboard';
import { Icon } from './Icon';

interface Props {
  text: string;
  label: string;
  testId: string;
  className?: string;
}

/** A button that copies and says so. */
export function CopyButton({ text, label, testId, className = 'button' }: Props) {
  const [outcome, setOutcome] = useState<'idle' | 'copied' | 'failed'>('idle');

  useEffect(() => {
    if (outcome === 'idle') return;
    const timer = setTimeout(() => setOutcome('idle'), 2200);
    return () => clearTimeout(timer);
  }, [outcome]);

  const said = { idle: label, copied: 'Copied', failed: 'Press Ctrl+C to copy' }[outcome];
  return (
    <button
      type="button"
      className={className}
      data-testid={testId}
      onClick={async () => setOutcome((await copyText(text)) ? 'copied' : 'failed')}
    >
      <Icon name={outcome === 'copied' ? 'check' : 'copy'} size={18} />
      <span aria-live="polite">{said}</span>
    </button>
  );
}
