/** Messages by the same person in quick succession are one group under one name. */

export interface Said {
  id: string;
  author: string;
  /** Milliseconds since 1970, UTC. */
  at: number;
}

export interface Group<T extends Said> {
  key: string;
  at: number;
  items: T[];
}

const QUICK_MS = 3 * 60_000;

export function groupMessages<T extends Said>(messages: readonly T[]): Group<T>[] {
  const groups: Group<T>[] = [];
  for (const message of messages) {
    const group = groups.at(-1);
    const last = group?.items.at(-1);
    if (group !== undefined && last?.author === message.author && message.at - last.at < QUICK_MS) {
      group.items.push(message);
    } else {
      groups.push({ key: message.id, at: message.at, items: [message] });
    }
  }
  return groups;
}
