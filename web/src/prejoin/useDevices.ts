import { useEffect, useState } from 'react';
import { Room } from 'livekit-client';
import { hasMediaDevices } from '../lib/media';

/**
 * The devices of one kind, as they come and go. Browsers hide names until a permission was given, so a change of
 * `permissionHint` (a track that has just started) looks again.
 */
export function useDevices(kind: MediaDeviceKind, permissionHint: unknown): readonly MediaDeviceInfo[] {
  const [devices, setDevices] = useState<readonly MediaDeviceInfo[]>([]);
  useEffect(() => {
    if (!hasMediaDevices()) return;
    let isCurrent = true;
    const look = (): void => {
      Room.getLocalDevices(kind, false).then(
        (found) => {
          if (isCurrent) setDevices(found.filter((device) => device.deviceId !== ''));
        },
        () => undefined, // no permission to look: the list stays empty and says so
      );
    };
    look();
    navigator.mediaDevices.addEventListener('devicechange', look);
    return () => {
      isCurrent = false;
      navigator.mediaDevices.removeEventListener('devicechange', look);
    };
  }, [kind, permissionHint]);
  return devices;
}
