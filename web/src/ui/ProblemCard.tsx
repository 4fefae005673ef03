import type { ReactNode } from 'react';
import type { Problem } from '../lib/problems';
import { Icon } from './Icon';

interface Props {
  problem: Problem;
  /** `calm` for what one can live with, such as a missing camera. */
  tone?: 'alarm' | 'calm';
  children?: ReactNode;
}

/** What went wrong and what to do, in place. */
export function ProblemCard({ problem, tone = 'alarm', children }: Props) {
  return (
    <div
      className={`problem problem-${tone}`}
      role={tone === 'alarm' ? 'alert' : 'status'}
      data-testid="problem"
      data-code={problem.code}
    >
      <Icon name={tone === 'alarm' ? 'warning' : 'info'} size={20} />
      <div className="problem-text">
        <strong>{problem.title}</strong>
        <p>{problem.advice}</p>
        {problem.reason !== undefined && (
          <p className="problem-reason">
            The server says: <q>{problem.reason}</q>
          </p>
        )}
        {children}
      </div>
    </div>
  );
}
