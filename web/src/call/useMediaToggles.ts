import { useCallback, useState } from 'react';
import { useLocalParticipant } from '@livekit/components-react';
import type { Room } from 'livekit-client';
import { canShareScreen } from '../lib/media';
import { savePrefs } from '../lib/prefs';
import { mediaProblem, type Device } from '../lib/problems';
import { useNotify } from '../ui/toasts';

export interface MediaToggles {
  isMicOn: boolean;
  isCameraOn: boolean;
  isSharing: boolean;
  canShare: boolean;
  /** What is being switched just now; its button waits. */
  pending: Device | null;
  toggleMic: () => Promise<void>;
  toggleCamera: () => Promise<void>;
  toggleScreen: () => Promise<void>;
}

/** Microphone, camera and screen on and off, with failures told as toasts. */
export function useMediaToggles(room: Room): MediaToggles {
  const { localParticipant, isMicrophoneEnabled, isCameraEnabled, isScreenShareEnabled } =
    useLocalParticipant({ room });
  const [pending, setPending] = useState<Device | null>(null);
  const notify = useNotify();

  const attempt = useCallback(
    async (device: Device, change: () => Promise<unknown>): Promise<void> => {
      setPending(device);
      try {
        await change();
      } catch (error) {
        const problem = mediaProblem(error, device);
        if (problem !== null) notify(`${problem.title}. ${problem.advice}`, 'alarm');
      } finally {
        setPending(null);
      }
    },
    [notify],
  );

  return {
    isMicOn: isMicrophoneEnabled,
    isCameraOn: isCameraEnabled,
    isSharing: isScreenShareEnabled,
    canShare: canShareScreen(),
    pending,
    toggleMic: () =>
      attempt('microphone', async () => {
        await localParticipant.setMicrophoneEnabled(!isMicrophoneEnabled);
        savePrefs({ micOn: !isMicrophoneEnabled });
      }),
    toggleCamera: () =>
      attempt('camera', async () => {
        await localParticipant.setCameraEnabled(!isCameraEnabled);
        savePrefs({ cameraOn: !isCameraEnabled });
      }),
    toggleScreen: () =>
      attempt('screen', () =>
        localParticipant.setScreenShareEnabled(!isScreenShareEnabled, {
          audio: true,
          systemAudio: 'include',
          selfBrowserSurface: 'exclude',
          surfaceSwitching: 'include',
          contentHint: 'detail',
        }),
      ),
  };
}
