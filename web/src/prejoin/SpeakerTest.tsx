import { useState } from 'react';
import { playChime } from '../lib/media';
import { Icon } from '../ui/Icon';

/** Plays a chime, so that one knows before joining whether one will hear. */
export function SpeakerTest({ speakerId }: { speakerId: string }) {
  const [state, setState] = useState<'idle' | 'playing' | 'failed'>('idle');
  return (
    <button
      type="button"
      className="button button-quiet button-small"
      data-testid="test-speaker"
      disabled={state === 'playing'}
      onClick={async () => {
        setState('playing');
        try {
          await playChime(speakerId);
          setState('idle');
        } catch {
          setState('failed');
        }
      }}
    >
      <Icon name="volume" size={16} />
      {{ idle: 'Test speaker', playing: 'Playing…', failed: 'No sound: choose another' }[state]}
    </button>
  );
}
