import { expect, test } from 'vitest';
import { groupMessages } from './chat';

test('one person in quick succession is one group', () => {
  const minute = 60_000;
  const said = (id: string, author: string, at: number) => ({ id, author, at });
  const groups = groupMessages([
    said('1', 'ana', 0),
    said('2', 'ana', 2 * minute),
    said('3', 'bo', 2 * minute),
    said('4', 'ana', 3 * minute),
    said('5', 'ana', 9 * minute),
  ]);
  expect(groups.map((group) => group.items.map((item) => item.id))).toEqual([
    ['1', '2'],
    ['3'],
    ['4'],
    ['5'],
  ]);
  expect(groups.map((group) => group.at)).toEqual([0, 2 * minute, 3 * minute, 9 * minute]);
});

test('no messages, no groups', () => {
  expect(groupMessages([])).toEqual([]);
});
