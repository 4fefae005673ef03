import { describe, expect, test } from 'vitest';
import { chooseFocus, chooseView, gridShape, tilesPerPage, type Candidate } from './layout';

describe('chooseView', () => {
  const calm = { preferred: 'grid', whileSharing: null, isSharing: false, isPinned: false } as const;
  test.each([
    ['what one prefers', calm, 'grid'],
    ['what one prefers', { ...calm, preferred: 'speaker' as const }, 'speaker'],
    ['a screen share takes over', { ...calm, isSharing: true }, 'speaker'],
    ['unless one said otherwise', { ...calm, isSharing: true, whileSharing: 'grid' as const }, 'grid'],
    ['a pin wins', { ...calm, isSharing: true, whileSharing: 'grid' as const, isPinned: true }, 'speaker'],
  ])('%s', (_, inputs, view) => {
    expect(chooseView(inputs)).toBe(view);
  });
});

describe('chooseFocus', () => {
  const tile = (id: string, change: Partial<Candidate> = {}): Candidate => ({
    id,
    identity: id,
    isLocal: false,
    isScreen: false,
    ...change,
  });
  const me = tile('me', { isLocal: true });
  const myScreen = tile('my-screen', { identity: 'me', isLocal: true, isScreen: true });
  const ana = tile('ana');
  const bo = tile('bo');
  const boScreen = tile('bo-screen', { identity: 'bo', isScreen: true });

  test.each([
    ['nobody', [], null, null, null],
    ['oneself when alone', [me], null, null, 'me'],
    ['the other one', [me, ana], null, null, 'ana'],
    ['who spoke last', [me, ana, bo], null, 'bo', 'bo'],
    ['not oneself, though one spoke', [me, ana, bo], null, 'me', 'ana'],
    ['a screen before a speaker', [me, ana, bo, boScreen], null, 'ana', 'bo-screen'],
    ["others' screen before one's own", [me, myScreen, bo, boScreen], null, null, 'bo-screen'],
    ["one's own screen before faces", [me, myScreen, bo], null, 'bo', 'my-screen'],
    ['the pinned one before all', [me, ana, boScreen], 'ana', null, 'ana'],
    ['a pin on somebody who left is void', [me, bo], 'ana', null, 'bo'],
  ])('%s', (_, candidates, pinned, speaker, expected) => {
    expect(chooseFocus(candidates, pinned, speaker)).toBe(expected);
  });
});

describe('gridShape', () => {
  const desktop = { width: 1280, height: 680 };
  const phone = { width: 344, height: 500 };
  test.each([
    [1, desktop, 1, 1],
    [2, desktop, 2, 1],
    [3, desktop, 2, 2],
    [4, desktop, 2, 2],
    [9, desktop, 3, 3],
    [1, phone, 1, 1],
    [2, phone, 1, 2],
    [6, phone, 2, 3],
  ])('%i tiles in %o', (count, area, columns, rows) => {
    expect(gridShape(count, area, 10)).toMatchObject({ columns, rows });
  });

  test('tiles always fit', () => {
    for (const area of [desktop, phone, { width: 800, height: 300 }, { width: 10, height: 10 }]) {
      for (let count = 1; count <= 30; count++) {
        const { columns, rows, tile } = gridShape(count, area, 8);
        expect(columns * rows).toBeGreaterThanOrEqual(count);
        if (tile.width === 0) continue;
        expect(columns * tile.width + (columns - 1) * 8).toBeLessThanOrEqual(area.width);
        expect(rows * tile.height + (rows - 1) * 8).toBeLessThanOrEqual(area.height);
      }
    }
  });

  test('nothing to lay out, nowhere to put it', () => {
    expect(gridShape(3, { width: 0, height: 0 }, 8).tile).toEqual({ width: 0, height: 0 });
  });
});

test.each([
  [{ width: 1280, height: 680 }, 25],
  [{ width: 344, height: 500 }, 8],
  [{ width: 100, height: 100 }, 2],
])('tilesPerPage(%o) is %i', (area, count) => {
  expect(tilesPerPage(area)).toBe(count);
});
