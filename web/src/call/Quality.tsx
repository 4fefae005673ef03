import { ConnectionQuality } from 'livekit-client';

const WORDS: Record<ConnectionQuality, { bars: number; text: string }> = {
  [ConnectionQuality.Excellent]: { bars: 3, text: 'Connection: excellent' },
  [ConnectionQuality.Good]: { bars: 2, text: 'Connection: good' },
  [ConnectionQuality.Poor]: { bars: 1, text: 'Connection: poor' },
  [ConnectionQuality.Lost]: { bars: 0, text: 'Connection lost' },
  [ConnectionQuality.Unknown]: { bars: 3, text: 'Connection: not known yet' },
};

/** Three bars, as on a phone. */
export function Quality({ quality }: { quality: ConnectionQuality }) {
  const { bars, text } = WORDS[quality];
  return (
    <span
      className={`quality quality-${quality}`}
      role="img"
      aria-label={text}
      title={text}
      data-testid="quality"
    >
      {[0, 1, 2].map((bar) => (
        <i key={bar} data-lit={bar < bars} />
      ))}
    </span>
  );
}
