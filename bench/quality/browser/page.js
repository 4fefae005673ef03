// One receiver in a page: a peer connection, an element per video, and a note of every frame that was shown. Times are ms since
// 1970. The stamp is what stamp.py draws.
const ACROSS = 20;
const NUMBER_BITS = 9;
const CHECK_BITS = 5;
const BLOCKS = 2 + NUMBER_BITS + CHECK_BITS;
const COUNTED = [
  'bytesReceived', 'packetsReceived', 'packetsLost', 'retransmittedPacketsReceived', 'fecPacketsReceived', 'nackCount',
  'pliCount', 'framesReceived', 'framesDecoded', 'framesDropped', 'keyFramesDecoded', 'frameHeight', 'freezeCount',
  'totalFreezesDuration', 'totalDecodeTime', 'jitterBufferDelay', 'jitterBufferEmittedCount', 'totalSamplesReceived',
  'concealedSamples', 'silentConcealedSamples',
];

const wall = (time) => performance.timeOrigin + time;

/** Mean luma of the middle of each block, from left to right. `copied`: the upper edge of the picture, rows `side` high. */
function levels(luma, stride, side) {
  const from = side >> 2;
  const to = side - from;
  return Array.from({ length: BLOCKS }, (_, place) => {
    let sum = 0;
    for (let y = from; y < to; y += 1) {
      for (let x = place * side + from; x < place * side + to; x += 1) sum += luma[y * stride + x];
    }
    return sum / (to - from) ** 2;
  });
}

function number(luma, stride, side) {
  const [white, black, ...rest] = levels(luma, stride, side);
  if (white - black < 94) return -1;
  const word = rest.reduce((bits, level) => (bits << 1) | (level > (white + black) / 2), 0);
  const found = word >> CHECK_BITS;
  return (found * 11) % 31 === (word & ((1 << CHECK_BITS) - 1)) ? found : -1;
}

/** The number in a picture, -1 if there is none that checks out. */
async function stampOf(frame) {
  const side = Math.floor(frame.codedWidth / ACROSS);
  const rect = { x: 0, y: 0, width: ACROSS * side, height: side & ~1 };
  const copied = new Uint8Array(frame.allocationSize({ rect }));
  const [luma] = await frame.copyTo(copied, { rect });
  return number(copied.subarray(luma.offset), luma.stride, side & ~1);
}

class Receiver {
  constructor() {
    this.connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.tracks = [];
    this.frames = [];
    this.samples = [];
    this.connection.ontrack = ({ track, transceiver }) => this.attach(track, transceiver);
    this.connected = new Promise((done) => {
      this.connection.onconnectionstatechange = () => {
        if (this.connection.connectionState === 'connected') done(wall(performance.now()));
      };
    });
    setInterval(() => this.sample(), 200);
  }

  attach(track, transceiver) {
    const element = document.createElement(track.kind);
    Object.assign(element, { srcObject: new MediaStream([track]), autoplay: true, muted: true, width: 320 });
    document.body.append(element);
    this.tracks.push({ kind: track.kind, mid: transceiver.mid, receiver: transceiver.receiver });
    if (track.kind === 'video') this.watch(element, transceiver.mid);
  }

  /** Notes every frame: mid, when it was shown, when its last packet came, its height and its number. */
  watch(element, mid) {
    const shown = async (now, { presentationTime, receiveTime, height, presentedFrames }) => {
      element.requestVideoFrameCallback(shown);
      const frame = new VideoFrame(element);
      const entry = [mid, wall(presentationTime), receiveTime ? wall(receiveTime) : 0, height, presentedFrames];
      try {
        this.frames.push([...entry, await stampOf(frame)]);
      } finally {
        frame.close();
      }
    };
    element.requestVideoFrameCallback(shown);
  }

  async sample() {
    const at = wall(performance.now());
    await Promise.all(this.tracks.map(async ({ kind, mid, receiver }) => {
      const report = await receiver.getStats();
      for (const entry of report.values()) {
        if (entry.type !== 'inbound-rtp') continue;
        this.samples.push([kind, mid, at, COUNTED.map((name) => entry[name] ?? 0)]);
      }
    }));
  }

  /** An offer to receive so many tracks of each kind. */
  async offer({ audio, video }) {
    for (const [kind, count] of [['audio', audio], ['video', video]]) {
      for (let index = 0; index < count; index += 1) this.connection.addTransceiver(kind, { direction: 'recvonly' });
    }
    await this.connection.setLocalDescription();
    return this.connection.localDescription.sdp;
  }

  async answered(sdp) {
    await this.connection.setRemoteDescription({ type: 'answer', sdp });
  }

  async answer(sdp) {
    await this.connection.setRemoteDescription({ type: 'offer', sdp });
    await this.connection.setLocalDescription();
    return this.connection.localDescription.sdp;
  }

  /** What was noted since the last call. */
  take() {
    const { frames, samples } = this;
    [this.frames, this.samples] = [[], []];
    return { frames, samples, counted: COUNTED };
  }
}

window.receiver = new Receiver();
