import { useId } from 'react';
import { Icon, type IconName } from '../ui/Icon';

const WORDS: Record<MediaDeviceKind, { label: string; icon: IconName; none: string; testId: string }> = {
  audioinput: { label: 'Microphone', icon: 'mic', none: 'No microphone available', testId: 'select-mic' },
  videoinput: { label: 'Camera', icon: 'camera', none: 'No camera available', testId: 'select-camera' },
  audiooutput: { label: 'Speaker', icon: 'volume', none: 'System speaker', testId: 'select-speaker' },
};

interface Props {
  kind: MediaDeviceKind;
  devices: readonly MediaDeviceInfo[];
  /** Empty: the browser's choice. */
  chosen: string;
  onChoose: (deviceId: string) => void;
}

/** A list of devices: the browser's own control, which every keyboard, screen reader and phone knows. */
export function DeviceSelect({ kind, devices, chosen, onChoose }: Props) {
  const id = useId();
  const words = WORDS[kind];
  const known = devices.some((device) => device.deviceId === chosen);
  return (
    <div className="device-select">
      <label htmlFor={id}>{words.label}</label>
      <div className="select">
        <Icon name={words.icon} size={18} />
        <select
          id={id}
          data-testid={words.testId}
          value={known ? chosen : (devices[0]?.deviceId ?? '')}
          disabled={devices.length === 0}
          onChange={(event) => onChoose(event.target.value)}
        >
          {devices.length === 0 && <option value="">{words.none}</option>}
          {devices.map((device, index) => (
            <option key={device.deviceId} value={device.deviceId}>
              {device.label === '' ? `${words.label} ${index + 1}` : device.label}
            </option>
          ))}
        </select>
        <Icon name="up" size={16} />
      </div>
    </div>
  );
}
