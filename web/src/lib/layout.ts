/** Which view to show, whom to show large, and how to fill a rectangle with tiles: pure decisions. */

export type View = 'grid' | 'speaker';

export interface ViewInputs {
  /** What the person chose last. */
  preferred: View;
  /** What the person chose since the current screen share began, if anything. */
  whileSharing: View | null;
  isSharing: boolean;
  isPinned: boolean;
}

/** A pin always shows; a screen share shows until the person says otherwise. */
export function chooseView({ preferred, whileSharing, isSharing, isPinned }: ViewInputs): View {
  if (isPinned) return 'speaker';
  if (isSharing) return whileSharing ?? 'speaker';
  return preferred;
}

export interface Candidate {
  id: string;
  identity: string;
  isLocal: boolean;
  isScreen: boolean;
}

/** The tile to show large: the pinned one, a screen (others' before one's own), who spoke last, anybody else, oneself. */
export function chooseFocus(
  candidates: readonly Candidate[],
  pinnedId: string | null,
  lastSpeaker: string | null,
): string | null {
  const ranked = [
    (c: Candidate) => c.id === pinnedId,
    (c: Candidate) => c.isScreen && !c.isLocal,
    (c: Candidate) => c.isScreen,
    (c: Candidate) => c.identity === lastSpeaker && !c.isLocal,
    (c: Candidate) => !c.isLocal,
    () => true,
  ];
  for (const fits of ranked) {
    const found = candidates.find(fits);
    if (found !== undefined) return found.id;
  }
  return null;
}

export interface Size {
  width: number;
  height: number;
}

export interface GridShape {
  columns: number;
  rows: number;
  /** Of one tile, CSS pixels. */
  tile: Size;
}

/** A tile is never wider than a camera's picture, nor so narrow that the picture loses its sides; tall screens may crop more. */
const WIDEST = 16 / 9;
const NARROWEST = { landscape: 4 / 3, portrait: 3 / 4 };

/** The columns and rows that give `count` tiles the largest area within `area`, `gap` pixels apart. */
export function gridShape(count: number, area: Size, gap: number): GridShape {
  const narrowest = area.height > area.width ? NARROWEST.portrait : NARROWEST.landscape;
  let best: GridShape = { columns: 1, rows: Math.max(1, count), tile: { width: 0, height: 0 } };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(Math.max(1, count) / columns);
    const cell = {
      width: Math.max(0, (area.width - gap * (columns - 1)) / columns),
      height: Math.max(0, (area.height - gap * (rows - 1)) / rows),
    };
    const tile = fit(cell, narrowest);
    if (tile.width * tile.height > best.tile.width * best.tile.height) best = { columns, rows, tile };
  }
  return best;
}

/** How many tiles fit on a page before faces get too small to read. */
export function tilesPerPage(area: Size): number {
  const columns = Math.max(1, Math.floor(area.width / 170));
  const rows = Math.max(1, Math.floor(area.height / 125));
  return Math.min(25, Math.max(2, columns * rows));
}

function fit(cell: Size, narrowest: number): Size {
  const ratio = cell.height === 0 ? WIDEST : cell.width / cell.height;
  if (ratio > WIDEST) return { width: Math.floor(cell.height * WIDEST), height: Math.floor(cell.height) };
  if (ratio < narrowest) return { width: Math.floor(cell.width), height: Math.floor(cell.width / narrowest) };
  return { width: Math.floor(cell.width), height: Math.floor(cell.height) };
}
