import { useCallback, useSyncExternalStore } from 'react';
import { RoomEvent } from 'livekit-client';
import { useRoomContext } from '@livekit/components-react';

/** Id of the device in use; empty while the browser decides. */
export function useActiveDevice(kind: MediaDeviceKind): string {
  const room = useRoomContext();
  const subscribe = useCallback(
    (changed: () => void) => {
      room.on(RoomEvent.ActiveDeviceChanged, changed).on(RoomEvent.LocalTrackPublished, changed);
      return () =>
        void room.off(RoomEvent.ActiveDeviceChanged, changed).off(RoomEvent.LocalTrackPublished, changed);
    },
    [room],
  );
  return useSyncExternalStore(subscribe, () => room.getActiveDevice(kind) ?? '');
}
