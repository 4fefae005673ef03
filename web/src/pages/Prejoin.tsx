import { useId, useState } from 'react';
import {
  VideoPresets,
  createLocalAudioTrack,
  createLocalVideoTrack,
  supportsAudioOutputSelection,
  type LocalAudioTrack,
  type LocalVideoTrack,
} from 'livekit-client';
import { inviteLink } from '../lib/link';
import { tokenFor } from '../lib/invitation';
import type { FirstMedia } from '../lib/joinCall';
import { loadPrefs, savePrefs, type Prefs } from '../lib/prefs';
import { withoutRepetition, type Problem } from '../lib/problems';
import { captureOf } from '../lib/publishOptions';
import { readToken } from '../lib/token';
import { CameraPreview } from '../prejoin/CameraPreview';
import { DeviceSelect } from '../prejoin/DeviceSelect';
import { LevelMeter } from '../prejoin/LevelMeter';
import { SpeakerTest } from '../prejoin/SpeakerTest';
import { useDevices } from '../prejoin/useDevices';
import { usePreviewTrack } from '../prejoin/usePreviewTrack';
import { CopyButton } from '../ui/CopyButton';
import { Icon } from '../ui/Icon';
import { Logo } from '../ui/Logo';
import { ProblemCard } from '../ui/ProblemCard';

const MAX_NAME_LENGTH = 64;

interface Props {
  room: string;
  isDev: boolean;
  problem: Problem | null;
  isJoining: boolean;
  /** `takeMedia` hands over the tracks of the preview once the call stands. */
  onJoin: (name: string, takeMedia: () => FirstMedia) => Promise<void>;
}

/** The door: how one looks and sounds, before anybody else sees or hears it. */
export function Prejoin({ room, isDev, problem, isJoining, onJoin }: Props) {
  const [prefs, setPrefs] = useState(loadPrefs);
  const change = (part: Partial<Prefs>): void => {
    setPrefs((old) => ({ ...old, ...part }));
    savePrefs(part);
  };

  const camera = usePreviewTrack('camera', startCamera, prefs.cameraOn, prefs.cameraId);
  const mic = usePreviewTrack('microphone', startMic, prefs.micOn, prefs.micId);
  const cameras = useDevices('videoinput', camera.track);
  const mics = useDevices('audioinput', mic.track);
  const speakers = useDevices('audiooutput', mic.track);

  const [givenName] = useState(() => nameOfInvitation(room));
  const name = givenName ?? prefs.name;
  const nameId = useId();
  const takeMedia = (): FirstMedia => ({
    mic: mic.take() ?? (prefs.micOn && mic.problem === null ? 'start' : 'none'),
    camera: camera.take() ?? (prefs.cameraOn && camera.problem === null ? 'start' : 'none'),
  });

  return (
    <div className="page prejoin">
      <header className="page-header">
        <Logo />
        {isDev && (
          <CopyButton
            text={inviteLink(location.origin, room)}
            label="Copy invite link"
            testId="copy-invite"
            className="button button-quiet button-small"
          />
        )}
      </header>
      <main className="prejoin-main">
        <section className="preview-column" aria-label="Preview">
          <div className="preview">
            <CameraPreview
              track={camera.track}
              state={camera.isStarting ? 'starting' : camera.problem === null ? 'off' : 'missing'}
              name={name}
            />
            <div className="preview-bar">
              <PreviewToggle
                kind="mic"
                isOn={prefs.micOn}
                isBroken={mic.problem !== null}
                onToggle={() => change({ micOn: !prefs.micOn })}
              />
              <PreviewToggle
                kind="camera"
                isOn={prefs.cameraOn}
                isBroken={camera.problem !== null}
                onToggle={() => change({ cameraOn: !prefs.cameraOn })}
              />
            </div>
          </div>
          <div className="meter-row">
            <LevelMeter track={mic.track} />
            <span className="muted">{micHint(prefs.micOn, mic)}</span>
          </div>
        </section>

        <form
          className="prejoin-form"
          onSubmit={(event) => {
            event.preventDefault();
            if (isJoining || name.trim() === '') return;
            void onJoin(name.trim(), takeMedia);
          }}
        >
          <div className="prejoin-title">
            <p className="muted">You are about to join</p>
            <h1 data-testid="room-title">{room}</h1>
          </div>

          {problem !== null && <ProblemCard problem={problem} />}

          <div className="stack stack-tight">
            <label htmlFor={nameId}>Your name</label>
            <input
              id={nameId}
              className="input"
              value={name}
              readOnly={givenName !== null}
              maxLength={MAX_NAME_LENGTH}
              placeholder="How others will see you"
              autoComplete="name"
              data-testid="prejoin-name"
              // The one field that a newcomer has to fill in.
              // eslint-disable-next-line jsx-a11y/no-autofocus
              autoFocus
              onChange={(event) => change({ name: event.target.value })}
            />
            {givenName !== null && <p className="muted">Your invitation sets this name.</p>}
          </div>

          {withoutRepetition(camera.problem, mic.problem).map((found) => (
            <ProblemCard key={found.code} problem={found} tone="calm">
              {found.code !== 'insecure-page' && (
                <button
                  type="button"
                  className="button button-small"
                  data-testid="retry-media"
                  onClick={() => {
                    if (camera.problem !== null) camera.retry();
                    if (mic.problem !== null) mic.retry();
                  }}
                >
                  Try again
                </button>
              )}
            </ProblemCard>
          ))}

          <div className="devices">
            <DeviceSelect
              kind="videoinput"
              devices={cameras}
              chosen={prefs.cameraId}
              onChoose={(cameraId) => change({ cameraId, cameraOn: true })}
            />
            <DeviceSelect
              kind="audioinput"
              devices={mics}
              chosen={prefs.micId}
              onChoose={(micId) => change({ micId, micOn: true })}
            />
            {supportsAudioOutputSelection() && (
              <DeviceSelect
                kind="audiooutput"
                devices={speakers}
                chosen={prefs.speakerId}
                onChoose={(speakerId) => change({ speakerId })}
              />
            )}
            <SpeakerTest speakerId={prefs.speakerId} />
          </div>

          <button
            type="submit"
            className="button button-primary button-large"
            data-testid="prejoin-join"
            disabled={name.trim() === '' || isJoining}
            aria-busy={isJoining}
          >
            {isJoining ? 'Joining…' : 'Join now'}
          </button>
        </form>
      </main>
    </div>
  );
}

interface ToggleProps {
  kind: 'mic' | 'camera';
  isOn: boolean;
  isBroken: boolean;
  onToggle: () => void;
}

function PreviewToggle({ kind, isOn, isBroken, onToggle }: ToggleProps) {
  const works = isOn && !isBroken;
  const thing = kind === 'mic' ? 'microphone' : 'camera';
  return (
    <button
      type="button"
      className={works ? 'round-button' : 'round-button is-off'}
      aria-pressed={isOn}
      aria-label={isOn ? `Turn ${thing} off` : `Turn ${thing} on`}
      data-testid={`toggle-${kind}`}
      onClick={onToggle}
    >
      <Icon name={works ? kind : `${kind}Off`} />
      {isBroken && <span className="alert-dot" aria-hidden="true" />}
    </button>
  );
}

function micHint(isOn: boolean, mic: { track: unknown; isStarting: boolean }): string {
  if (!isOn) return 'Your microphone is off';
  if (mic.track !== null) return 'Say something: the bars should move';
  return mic.isStarting ? 'Starting your microphone…' : 'No microphone';
}

function nameOfInvitation(room: string): string | null {
  const token = tokenFor(room);
  return token === null ? null : (readToken(token)?.name ?? null);
}

function startCamera(deviceId: string): Promise<LocalVideoTrack> {
  return createLocalVideoTrack({ ...captureOf(deviceId), resolution: VideoPresets.h720.resolution });
}

function startMic(deviceId: string): Promise<LocalAudioTrack> {
  return createLocalAudioTrack(captureOf(deviceId));
}
