import { useEffect } from 'react';
import { MediaDeviceFailure, RoomEvent, Track, type DisconnectReason, type Room } from 'livekit-client';
import { useNotify } from '../ui/toasts';
import { displayName } from './tiles';

/** Comings and goings as toasts, and the end of the call. */
export function useCallEvents(room: Room, onEnd: (reason: DisconnectReason | undefined) => void): void {
  const notify = useNotify();

  useEffect(() => {
    const handlers = {
      [RoomEvent.Disconnected]: onEnd,
      [RoomEvent.ParticipantConnected]: (who: Named) => notify(`${displayName(who)} joined`),
      [RoomEvent.ParticipantDisconnected]: (who: Named) => notify(`${displayName(who)} left`),
      [RoomEvent.TrackPublished]: (publication: { source: Track.Source }, who: Named) => {
        if (publication.source === Track.Source.ScreenShare)
          notify(`${displayName(who)} is sharing a screen`);
      },
      [RoomEvent.MediaDevicesError]: (error: Error) => {
        if (MediaDeviceFailure.getFailure(error) === MediaDeviceFailure.DeviceInUse) {
          notify('Another program took the camera or microphone.', 'alarm');
        }
      },
    };
    room
      .on(RoomEvent.Disconnected, handlers[RoomEvent.Disconnected])
      .on(RoomEvent.ParticipantConnected, handlers[RoomEvent.ParticipantConnected])
      .on(RoomEvent.ParticipantDisconnected, handlers[RoomEvent.ParticipantDisconnected])
      .on(RoomEvent.TrackPublished, handlers[RoomEvent.TrackPublished])
      .on(RoomEvent.MediaDevicesError, handlers[RoomEvent.MediaDevicesError]);
    return () => {
      room
        .off(RoomEvent.Disconnected, handlers[RoomEvent.Disconnected])
        .off(RoomEvent.ParticipantConnected, handlers[RoomEvent.ParticipantConnected])
        .off(RoomEvent.ParticipantDisconnected, handlers[RoomEvent.ParticipantDisconnected])
        .off(RoomEvent.TrackPublished, handlers[RoomEvent.TrackPublished])
        .off(RoomEvent.MediaDevicesError, handlers[RoomEvent.MediaDevicesError]);
    };
  }, [room, notify, onEnd]);
}

interface Named {
  name?: string;
  identity: string;
}
