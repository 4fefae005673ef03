import type { CSSProperties } from 'react';
import { hueOf, initials } from '../lib/avatar';

export function Avatar({ identity, name }: { identity: string; name: string }) {
  return (
    <span className="avatar" style={{ '--hue': hueOf(identity) } as CSSProperties} aria-hidden="true">
      {initials(name)}
    </span>
  );
}
