import { useEffect, useRef } from 'react';
import { createAudioAnalyser, type LocalAudioTrack } from 'livekit-client';

const BARS = 14;

/** How loud the microphone is. Drawn outside React: sixty times a second is nothing to re-render for. */
export function LevelMeter({ track }: { track: LocalAudioTrack | null }) {
  const bars = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const meter = bars.current;
    if (track === null || meter === null) return;
    const { calculateVolume, cleanup } = createAudioAnalyser(track, { smoothingTimeConstant: 0.6 });
    let frame = 0;
    const draw = (): void => {
      const lit = Math.min(BARS, Math.round(calculateVolume() * BARS * 1.8));
      Array.from(meter.children).forEach((bar, index) => bar.toggleAttribute('data-lit', index < lit));
      meter.dataset.level = String(lit);
      frame = requestAnimationFrame(draw);
    };
    draw();
    return () => {
      cancelAnimationFrame(frame);
      void cleanup();
      Array.from(meter.children).forEach((bar) => bar.removeAttribute('data-lit'));
    };
  }, [track]);

  return (
    <div ref={bars} className="meter" role="img" aria-label="Microphone level" data-testid="mic-level">
      {Array.from({ length: BARS }, (_, index) => (
        <span key={index} />
      ))}
    </div>
  );
}
