import type { ReactNode } from 'react';
import { Track, type Room } from 'livekit-client';
import type { ReceivedTrack, SentLayer, SentTrack } from '../lib/callStats';
import { inBits, inCount, inFrames, inMilliseconds, inPercent, inSeconds } from '../lib/units';
import { SidePanel } from './SidePanel';
import { displayName } from './tiles';
import { useCallStats, type TrackStats } from './useCallStats';

const SOURCES: Partial<Record<Track.Source, string>> = {
  [Track.Source.Camera]: 'Camera',
  [Track.Source.Microphone]: 'Microphone',
  [Track.Source.ScreenShare]: 'Screen',
  [Track.Source.ScreenShareAudio]: 'Sound of the screen',
};

const LIMITS: Record<string, string> = { cpu: 'this device', bandwidth: 'the network' };

/** Shares of packets and of sound from which on one notices. */
const BAD_LOSS = 0.05;
const BAD_CONCEALMENT = 0.02;

interface Props {
  room: Room;
  onClose: () => void;
}

/** What arrives and what is sent, track by track. */
export function StatsPanel({ room, onClose }: Props) {
  const stats = useCallStats(room);
  const sent = stats?.tracks.filter((track) => track.sent !== null) ?? [];
  const received = stats?.tracks.filter((track) => track.received !== null) ?? [];
  return (
    <SidePanel title="Call statistics" testId="stats-panel" onClose={onClose}>
      <div className="stats">
        <section aria-label="Connection">
          <h3>Connection</h3>
          <dl className="stats-card">
            <Row label="Round trip">{inMilliseconds(stats?.connection.roundTrip ?? null)}</Row>
            <Row label="Upload estimate">{inBits(stats?.connection.estimate ?? null)}</Row>
          </dl>
        </section>
        <Group title="Received" tracks={received} />
        <Group title="Sent" tracks={sent} />
      </div>
    </SidePanel>
  );
}

function Group({ title, tracks }: { title: string; tracks: TrackStats[] }) {
  return (
    <section aria-label={title}>
      <h3>{title}</h3>
      {tracks.length === 0 && <p className="muted">Nothing at the moment.</p>}
      {tracks.map((track) => (
        <article key={track.id} data-testid={`stats-${track.identity}-${track.source}`}>
          <h4>{titleOf(track)}</h4>
          {track.received !== null && <Received track={track.received} layer={track.layer} />}
          {track.sent !== null && <Sent track={track.sent} />}
        </article>
      ))}
    </section>
  );
}

function Received({ track, layer }: { track: ReceivedTrack; layer: [number, number] | null }) {
  const isVideo = track.size !== null;
  return (
    <dl className="stats-card">
      {isVideo && <Row label="Picture">{`${track.size}, ${inFrames(track.fps)}`}</Row>}
      {layer !== null && <Row label="Layer">{`${String(layer[0])} of ${String(layer[1])}`}</Row>}
      <Row label="Bit rate">{[inBits(track.bitrate), track.codec].filter(Boolean).join(', ')}</Row>
      <Row label="Packets lost" isBad={(track.loss ?? 0) > BAD_LOSS}>
        {`${inCount(track.lost)}, now ${inPercent(track.loss)}`}
      </Row>
      {isVideo && (
        <>
          <Row label="Retransmitted, with probes">{inCount(track.retransmitted)}</Row>
          <Row label="Parity packets">{inCount(track.parity)}</Row>
          <Row label="Freezes">{freezes(track)}</Row>
        </>
      )}
      {!isVideo && (
        <Row label="Concealed sound" isBad={(track.concealed ?? 0) > BAD_CONCEALMENT}>
          {inPercent(track.concealed)}
        </Row>
      )}
      <Row label="Jitter buffer">{inMilliseconds(track.buffer)}</Row>
    </dl>
  );
}

function Sent({ track }: { track: SentTrack }) {
  return (
    <dl className="stats-card">
      {track.codec !== null && <Row label="Codec">{track.codec}</Row>}
      {track.layers.map((layer) => (
        <Row key={layer.rid} label={layer.size ?? 'Bit rate'} isBad={layer.limitedBy !== null}>
          {describe(layer)}
        </Row>
      ))}
      <Row label="Packets lost" isBad={(track.loss ?? 0) > BAD_LOSS}>
        {inPercent(track.loss)}
      </Row>
    </dl>
  );
}

function Row({ label, isBad = false, children }: { label: string; isBad?: boolean; children: ReactNode }) {
  return (
    <div data-bad={isBad}>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function describe({ fps, bitrate, limitedBy }: SentLayer): string {
  const parts = [fps === null ? null : inFrames(fps), inBits(bitrate)];
  if (limitedBy !== null) parts.push(`held back by ${LIMITS[limitedBy] ?? 'something else'}`);
  return parts.filter((part) => part !== null).join(', ');
}

function freezes({ freezes: count, frozen }: ReceivedTrack): string {
  return count === null ? inCount(null) : `${inCount(count)}, ${inSeconds(frozen ?? 0)} in all`;
}

function titleOf(track: TrackStats): string {
  const source = SOURCES[track.source] ?? 'Track';
  return track.sent !== null ? source : `${displayName(track)}: ${source.toLowerCase()}`;
}
