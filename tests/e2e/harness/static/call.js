// One participant of a call through the unmodified livekit-client. Tests call these functions and read what they return.
const { Room, RoomEvent, Track, VideoPresets, VideoQuality, DataPacket_Kind } = LivekitClient;

const state = { room: null, data: [], speakers: [], disconnected: null, started: 0, mediaAfterMs: {}, sizes: {} };

async function firstFrame(track, identity) {
  while (state.mediaAfterMs[identity] === undefined) {
    const { framesDecoded } = (await inbound(track)) ?? {};
    if (framesDecoded > 0) state.mediaAfterMs[identity] = performance.now() - state.started;
    else await new Promise((done) => setTimeout(done, 10));
  }
}

function fit(element) {
  const size = state.sizes[element.dataset.owner];
  if (size) Object.assign(element.style, { width: `${size.width}px`, height: `${size.height}px` });
}

async function inbound(track) {
  const report = await track?.receiver?.getStats();
  if (!report) return undefined;
  const entries = [...report.values()];
  const rtp = entries.find((entry) => entry.type === 'inbound-rtp');
  const codec = entries.find((entry) => entry.id === rtp?.codecId);
  return rtp && { ...rtp, mimeType: codec?.mimeType };
}

/** End-to-end encryption by the SDK's own worker; nothing on the way knows the key. */
async function keyed(passphrase) {
  const keyProvider = new LivekitClient.ExternalE2EEKeyProvider();
  await keyProvider.setKey(passphrase);
  return { e2ee: { keyProvider, worker: new Worker('/e2ee-worker.js') } };
}

const call = {
  /** Connects and publishes. options: {url, token, room, camera, microphone, screen, publish, capture, passphrase} */
  async join(options) {
    const encryption = options.passphrase === undefined ? {} : await keyed(options.passphrase);
    const room = new Room({ adaptiveStream: false, dynacast: false, ...encryption, ...options.room });
    if (options.passphrase !== undefined) await room.setE2EEEnabled(true);
    state.room = room;
    state.started = performance.now();
    room.on(RoomEvent.TrackSubscribed, (track, publication, participant) => {
      const element = track.attach();
      element.dataset.owner = participant.identity;
      fit(element);
      document.body.append(element);
      if (track.kind === Track.Kind.Video) void firstFrame(track, participant.identity);
    });
    room.on(RoomEvent.TrackUnsubscribed, (track) => track.detach().forEach((element) => element.remove()));
    room.on(RoomEvent.DataReceived, (payload, participant, kind, topic) => {
      state.data.push({
        text: payload.length < 2000 ? new TextDecoder().decode(payload) : '', length: payload.length,
        from: participant?.identity, reliable: kind === DataPacket_Kind.RELIABLE, topic,
      });
    });
    room.on(RoomEvent.ActiveSpeakersChanged, (speakers) => state.speakers.push(speakers.map((who) => who.identity)));
    room.on(RoomEvent.Disconnected, (reason) => { state.disconnected = reason ?? -1; });
    await room.connect(options.url, options.token, options.connect);
    const connectedMs = performance.now() - state.started;
    if (options.microphone) await room.localParticipant.setMicrophoneEnabled(true);
    if (options.camera) await room.localParticipant.setCameraEnabled(true, options.capture, options.publish);
    if (options.screen) await call.publishScreen();
    return { connectedMs, sid: room.localParticipant.sid };
  },

  /** A screen share made of a canvas, as no picker can be answered in a headless browser. */
  async publishScreen() {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: 1280, height: 720 });
    document.body.append(canvas);
    const paint = canvas.getContext('2d');
    let frame = 0;
    setInterval(() => {
      paint.fillStyle = `hsl(${frame % 360} 60% 40%)`;
      paint.fillRect(0, 0, 1280, 720);
      paint.fillStyle = 'white';
      paint.font = '80px sans-serif';
      paint.fillText(`frame ${frame++}`, 100, 360);
    }, 100);
    const [track] = canvas.captureStream(10).getVideoTracks();
    await state.room.localParticipant.publishTrack(track, {
      source: Track.Source.ScreenShare, name: 'screen', simulcast: false,
    });
  },

  /** Everything seen of the others: {identity: {source: {kind, mimeType, framesDecoded, width, height, …}}}. */
  async seen() {
    const result = {};
    for (const participant of state.room.remoteParticipants.values()) {
      const tracks = (result[participant.identity] = {});
      for (const publication of participant.trackPublications.values()) {
        const rtp = await inbound(publication.track);
        tracks[publication.source] = {
          kind: publication.kind, muted: publication.isMuted, subscribed: publication.isSubscribed,
          mimeType: rtp?.mimeType, framesDecoded: rtp?.framesDecoded ?? 0, fps: rtp?.framesPerSecond ?? 0,
          width: rtp?.frameWidth ?? 0, height: rtp?.frameHeight ?? 0, freezes: rtp?.freezeCount ?? 0,
          energy: rtp?.totalAudioEnergy ?? 0, packetsLost: rtp?.packetsLost ?? 0, packets: rtp?.packetsReceived ?? 0,
          bytes: rtp?.bytesReceived ?? 0,
          keyFrames: rtp?.keyFramesDecoded ?? 0, at: performance.now(),
        };
      }
    }
    return result;
  },

  /** Samples each sender's outbound-rtp: [{kind, rid, packetsSent, framesSent, width, height, codec}]. */
  async sent() {
    const result = [];
    for (const publication of state.room.localParticipant.trackPublications.values()) {
      const report = await publication.track?.sender?.getStats();
      for (const rtp of report?.values() ?? []) {
        if (rtp.type !== 'outbound-rtp') continue;
        result.push({
          kind: rtp.kind, rid: rtp.rid, packetsSent: rtp.packetsSent, framesSent: rtp.framesSent,
          width: rtp.frameWidth, height: rtp.frameHeight, limitation: rtp.qualityLimitationReason,
        });
      }
    }
    return result;
  },

  /** Frames of the camera sent so far, by MIME type: a backup codec has a sender of its own. */
  async sentByCodec() {
    const { track } = state.room.localParticipant.getTrackPublication(Track.Source.Camera);
    const result = {};
    for (const { sender } of [track, ...track.simulcastCodecs.values()]) {
      const entries = [...((await sender?.getStats())?.values() ?? [])];
      for (const rtp of entries.filter((entry) => entry.type === 'outbound-rtp')) {
        const codec = entries.find((entry) => entry.id === rtp.codecId)?.mimeType;
        if (codec) result[codec] = (result[codec] ?? 0) + (rtp.framesSent ?? 0);
      }
    }
    return result;
  },

  setQuality({ identity, quality }) {
    const participant = state.room.remoteParticipants.get(identity);
    participant.getTrackPublication(Track.Source.Camera).setVideoQuality(VideoQuality[quality]);
  },

  setDimensions({ identity, width, height }) {
    const participant = state.room.remoteParticipants.get(identity);
    participant.getTrackPublication(Track.Source.Camera).setVideoDimensions({ width, height });
  },

  /** The size in which a participant's video is shown, from now on: with adaptiveStream the SDK asks for what it takes. */
  resize({ identity, width, height }) {
    state.sizes[identity] = { width, height };
    document.querySelectorAll(`video[data-owner="${identity}"]`).forEach((element) => fit(element));
  },

  setSubscribed({ identity, source, subscribed }) {
    state.room.remoteParticipants.get(identity).getTrackPublication(source).setSubscribed(subscribed);
  },

  async setMicrophone(enabled) { await state.room.localParticipant.setMicrophoneEnabled(enabled); },
  async setCamera(enabled) { await state.room.localParticipant.setCameraEnabled(enabled); },

  async send({ text, length, reliable, to, topic }) {
    const payload = text !== undefined ? new TextEncoder().encode(text) : new Uint8Array(length);
    await state.room.localParticipant.publishData(payload, { reliable, destinationIdentities: to, topic });
  },

  /** A full ICE restart by the SDK: the signal connection resumes, media stays. */
  async resume() { await state.room.simulateScenario('signal-reconnect'); },
  async reconnect() { await state.room.simulateScenario('full-reconnect'); },

  async leave() { await state.room.disconnect(); },

  /** From now on: when packets of each remote voice came, looked at every 20 ms, and what the room tells of anybody. */
  watch() {
    state.voices = {};
    state.told = [];
    for (const event of ['participantDisconnected', 'participantConnected', 'trackUnsubscribed', 'trackUnpublished',
      'disconnected', 'reconnecting', 'reconnected']) {
      state.room.on(event, (...about) => state.told.push([event, about[0]?.identity ?? about[2]?.identity ?? '']));
    }
    setInterval(async () => {
      for (const participant of state.room.remoteParticipants.values()) {
        const track = participant.getTrackPublication(Track.Source.Microphone)?.track;
        const report = await track?.receiver?.getStats();
        for (const rtp of report?.values() ?? []) {
          if (rtp.type !== 'inbound-rtp') continue;
          const voice = (state.voices[participant.identity] ??= { at: performance.now(), longest: 0, packets: {} });
          if (voice.packets[rtp.ssrc] === rtp.packetsReceived) continue;
          voice.packets[rtp.ssrc] = rtp.packetsReceived;
          const now = performance.now();
          voice.longest = Math.max(voice.longest, now - voice.at);
          voice.at = now;
        }
      }
    }, 20);
  },

  /** Since `watch`: the longest time without a packet of each voice in ms, one that lasts still included. */
  watched() {
    const gaps = Object.entries(state.voices).map(([who, voice]) =>
      [who, Math.max(voice.longest, performance.now() - voice.at)]);
    return { gaps: Object.fromEntries(gaps), told: state.told };
  },

  summary() {
    const { room } = state;
    return {
      connection: room.state, participants: [...room.remoteParticipants.keys()], data: state.data,
      speakers: state.speakers, disconnected: state.disconnected, mediaAfterMs: state.mediaAfterMs,
      quality: room.localParticipant.connectionQuality, metadata: room.metadata,
    };
  },
};
window.call = call;
