import { usePagination, type TrackReferenceOrPlaceholder } from '@livekit/components-react';
import { gridShape, tilesPerPage, type Size } from '../lib/layout';
import { Icon } from '../ui/Icon';
import { Tile } from './Tile';
import { tileId } from './tiles';

const GAP = 10;
const PAGER_HEIGHT = 44;

interface Props {
  tracks: readonly TrackReferenceOrPlaceholder[];
  area: Size;
  pinned: string | null;
  onPin: (id: string) => void;
}

/** Everybody at the same size; more than fit go to further pages, and speakers are moved to the first. */
export function GridView({ tracks, area, pinned, onPin }: Props) {
  const perPage = tilesPerPage(area);
  const page = usePagination(perPage, [...tracks]);
  const isPaged = page.totalPageCount > 1;
  const room = { width: area.width, height: area.height - (isPaged ? PAGER_HEIGHT : 0) };
  const { columns, tile } = gridShape(page.tracks.length, room, GAP);

  return (
    <div className="grid-view" data-testid="grid-view">
      <div className="grid" style={{ maxWidth: columns * tile.width + (columns - 1) * GAP, gap: GAP }}>
        {page.tracks.map((track) => (
          <Tile
            key={tileId(track)}
            track={track}
            isPinned={pinned === tileId(track)}
            onPin={onPin}
            style={{ width: tile.width, height: tile.height }}
          />
        ))}
      </div>
      {isPaged && (
        <nav className="pager" aria-label="Pages of participants">
          <button
            type="button"
            className="icon-button"
            aria-label="Previous page"
            disabled={page.currentPage === 1}
            onClick={page.prevPage}
          >
            <Icon name="left" />
          </button>
          <span>
            {page.currentPage} of {page.totalPageCount}
          </span>
          <button
            type="button"
            className="icon-button"
            aria-label="Next page"
            disabled={page.currentPage === page.totalPageCount}
            onClick={page.nextPage}
          >
            <Icon name="right" />
          </button>
        </nav>
      )}
    </div>
  );
}
