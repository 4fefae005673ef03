/** What `getStats` tells of one track, as people ask for it. Rates are those between two looks. */

/** One entry of a report: the fields of webrtc-stats that are read here, all of them optional in some browser. */
export interface Entry {
  id: string;
  type: string;
  timestamp: number;
  [field: string]: unknown;
}

export interface Connection {
  /** Milliseconds. */
  roundTrip: number | null;
  /** What the browser takes its way up to carry, bits per second. */
  estimate: number | null;
}

export interface SentLayer {
  rid: string;
  size: string | null;
  fps: number | null;
  bitrate: number | null;
  /** Why it is not better: `cpu`, `bandwidth` or `other`. */
  limitedBy: string | null;
}

export interface SentTrack {
  codec: string | null;
  /** The best one first. */
  layers: SentLayer[];
  /** Share of packets that the server missed, 0 to 1. */
  loss: number | null;
}

export interface ReceivedTrack {
  codec: string | null;
  size: string | null;
  height: number | null;
  fps: number | null;
  bitrate: number | null;
  freezes: number | null;
  /** Seconds. */
  frozen: number | null;
  lost: number;
  /** Share of packets, 0 to 1, between the two looks. */
  loss: number | null;
  /** Packets; a server also probes the path with them. */
  retransmitted: number | null;
  /** Packets of forward error correction that came. */
  parity: number | null;
  /** Milliseconds that what is played waited. */
  buffer: number | null;
  /** Share of the sound that was made up, 0 to 1, between the two looks. */
  concealed: number | null;
}

/** `before`: the same report a while ago; without it nothing that is a rate is known. */
export function received(now: readonly Entry[], before: readonly Entry[]): ReceivedTrack | null {
  const rtp = now.find(({ type }) => type === 'inbound-rtp');
  if (rtp === undefined) return null;
  const former = before.find(({ id }) => id === rtp.id);
  const since = (field: string): number | null => grown(rtp, former, field);
  const lost = since('packetsLost');
  const made = difference(since('concealedSamples'), since('silentConcealedSamples') ?? 0);
  return {
    codec: codecOf(now, rtp),
    size: sizeOf(rtp),
    height: numberOf(rtp, 'frameHeight'),
    fps: numberOf(rtp, 'framesPerSecond'),
    bitrate: bitrate(rtp, former, 'bytesReceived'),
    freezes: numberOf(rtp, 'freezeCount'),
    frozen: numberOf(rtp, 'totalFreezesDuration'),
    lost: Math.max(numberOf(rtp, 'packetsLost') ?? 0, 0),
    loss: shareOf(lost, sum(lost, since('packetsReceived'))),
    retransmitted: numberOf(rtp, 'retransmittedPacketsReceived'),
    parity: numberOf(rtp, 'fecPacketsReceived'),
    buffer: times(ratio(since('jitterBufferDelay'), since('jitterBufferEmittedCount')), 1000),
    concealed: shareOf(made, since('totalSamplesReceived')),
  };
}

export function sent(now: readonly Entry[], before: readonly Entry[]): SentTrack | null {
  const streams = now.filter(({ type, active }) => type === 'outbound-rtp' && active !== false);
  const [first] = streams;
  if (first === undefined) return null;
  const layers = streams.map((rtp) => ({
    rid: textOf(rtp, 'rid') ?? '',
    size: sizeOf(rtp),
    fps: numberOf(rtp, 'framesPerSecond'),
    bitrate: bitrate(
      rtp,
      before.find(({ id }) => id === rtp.id),
      'bytesSent',
    ),
    limitedBy: limitOf(rtp),
    height: numberOf(rtp, 'frameHeight') ?? 0,
  }));
  layers.sort((one, other) => other.height - one.height);
  const remote = now.filter(({ type }) => type === 'remote-inbound-rtp');
  const losses = remote.map((rtp) => numberOf(rtp, 'fractionLost')).filter((loss) => loss !== null);
  return {
    codec: codecOf(now, first),
    layers: layers.map(({ rid, size, fps, bitrate: rate, limitedBy }) => ({
      rid,
      size,
      fps,
      bitrate: rate,
      limitedBy,
    })),
    loss: losses.length === 0 ? null : Math.max(...losses),
  };
}

/** Of the pair of addresses in use. */
export function connection(now: readonly Entry[]): Connection {
  const selected = now.find(({ type }) => type === 'transport')?.selectedCandidatePairId;
  const pairs = now.filter(({ type }) => type === 'candidate-pair');
  const pair =
    pairs.find(({ id }) => id === selected) ??
    pairs.find(({ nominated, state }) => nominated === true && state === 'succeeded');
  const roundTrip = pair === undefined ? null : numberOf(pair, 'currentRoundTripTime');
  return {
    roundTrip: times(roundTrip, 1000),
    estimate: pair === undefined ? null : numberOf(pair, 'availableOutgoingBitrate'),
  };
}

/** Which of the published layers a picture of this height is: [2, 3] is the second of three, counted from the smallest. */
export function layerOf(height: number | null, published: readonly number[]): [number, number] | null {
  const heights = [...new Set(published)].filter((one) => one > 0).sort((one, other) => one - other);
  if (height === null || height <= 0 || heights.length < 2) return null;
  const nearest = heights.reduce((best, one) =>
    Math.abs(one - height) < Math.abs(best - height) ? one : best,
  );
  return [heights.indexOf(nearest) + 1, heights.length];
}

function numberOf(entry: Entry, field: string): number | null {
  const value = entry[field];
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function textOf(entry: Entry, field: string): string | null {
  const value = entry[field];
  return typeof value === 'string' && value !== '' ? value : null;
}

function sizeOf(entry: Entry): string | null {
  const [width, height] = [numberOf(entry, 'frameWidth'), numberOf(entry, 'frameHeight')];
  return width !== null && height !== null && width > 0 ? `${String(width)}×${String(height)}` : null;
}

function limitOf(entry: Entry): string | null {
  const reason = textOf(entry, 'qualityLimitationReason');
  return reason === 'none' ? null : reason;
}

/** `video/VP8` is told as `VP8`. */
function codecOf(entries: readonly Entry[], rtp: Entry): string | null {
  const codec = entries.find(({ id, type }) => type === 'codec' && id === rtp.codecId);
  const name = codec === undefined ? null : textOf(codec, 'mimeType');
  return name?.split('/')[1] ?? null;
}

/** What a counter grew by; a stream that began anew has no past. */
function grown(now: Entry, before: Entry | undefined, field: string): number | null {
  const [newer, older] = [numberOf(now, field), before === undefined ? null : numberOf(before, field)];
  return newer === null || older === null || newer < older ? null : newer - older;
}

function bitrate(now: Entry, before: Entry | undefined, field: string): number | null {
  const bytes = grown(now, before, field);
  const seconds = before === undefined ? 0 : (now.timestamp - before.timestamp) / 1000;
  return times(ratio(bytes, seconds), 8);
}

function ratio(part: number | null, whole: number | null): number | null {
  return part === null || whole === null || whole <= 0 ? null : part / whole;
}

function shareOf(part: number | null, whole: number | null): number | null {
  const share = ratio(part, whole);
  return share === null ? null : Math.min(Math.max(share, 0), 1);
}

function sum(one: number | null, other: number | null): number | null {
  return one === null || other === null ? null : one + other;
}

function difference(one: number | null, other: number): number | null {
  return one === null ? null : Math.max(one - other, 0);
}

function times(value: number | null, factor: number): number | null {
  return value === null ? null : value * factor;
}
