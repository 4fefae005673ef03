import { supportsAudioOutputSelection, type LocalAudioTrack } from 'livekit-client';
import { useLocalParticipant, useRoomContext } from '@livekit/components-react';
import { savePrefs } from '../lib/prefs';
import { mediaProblem } from '../lib/problems';
import { DeviceSelect } from '../prejoin/DeviceSelect';
import { LevelMeter } from '../prejoin/LevelMeter';
import { SpeakerTest } from '../prejoin/SpeakerTest';
import { useDevices } from '../prejoin/useDevices';
import { useNotify } from '../ui/toasts';
import { useActiveDevice } from './useActiveDevice';

/** Microphone and loudspeaker, changed while the call goes on. */
export function MicMenu() {
  const { microphoneTrack, isMicrophoneEnabled } = useLocalParticipant();
  const track = (microphoneTrack?.track ?? null) as LocalAudioTrack | null;
  const speakerId = useActiveDevice('audiooutput');
  return (
    <div className="device-menu">
      <CallDevice kind="audioinput" />
      {isMicrophoneEnabled ? <LevelMeter track={track} /> : <p className="muted">You are muted.</p>}
      {supportsAudioOutputSelection() && <CallDevice kind="audiooutput" />}
      <SpeakerTest speakerId={speakerId} />
    </div>
  );
}

export function CameraMenu() {
  return (
    <div className="device-menu">
      <CallDevice kind="videoinput" />
    </div>
  );
}

const REMEMBERED_AS = { audioinput: 'micId', videoinput: 'cameraId', audiooutput: 'speakerId' } as const;

function CallDevice({ kind }: { kind: MediaDeviceKind }) {
  const room = useRoomContext();
  const chosen = useActiveDevice(kind);
  const devices = useDevices(kind, null);
  const notify = useNotify();
  const choose = async (deviceId: string): Promise<void> => {
    try {
      await room.switchActiveDevice(kind, deviceId);
      savePrefs({ [REMEMBERED_AS[kind]]: deviceId });
    } catch (error) {
      const problem = mediaProblem(error, kind === 'videoinput' ? 'camera' : 'microphone');
      if (problem !== null) notify(`${problem.title}. ${problem.advice}`, 'alarm');
    }
  };
  return <DeviceSelect kind={kind} devices={devices} chosen={chosen} onChoose={(id) => void choose(id)} />;
}
