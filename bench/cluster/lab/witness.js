// Watches the room of the web client's page: when packets of each voice and pictures of each camera came.
(() => {
  const room = window.__room;
  const flows = { audio: {}, video: {} };
  let events = [];
  let left = [];
  room.on('participantDisconnected', (who) => left.push(who.identity));
  for (const event of ['signalReconnecting', 'reconnecting', 'reconnected', 'disconnected']) {
    room.on(event, () => events.push(event));
  }

  const note = (kind, who, ssrc, count) => {
    const now = performance.now();
    const flow = (flows[kind][who] ??= { at: now, longest: 0, count: 0, counts: {} });
    const before = flow.counts[ssrc] ?? 0;
    if (count === before) return;
    // A stream that begins anew counts from the beginning.
    flow.count += count > before ? count - before : count;
    flow.counts[ssrc] = count;
    flow.longest = Math.max(flow.longest, now - flow.at);
    flow.at = now;
  };

  const look = async () => {
    for (const participant of room.remoteParticipants.values()) {
      for (const publication of participant.trackPublications.values()) {
        const report = await publication.track?.receiver?.getStats();
        for (const rtp of report?.values() ?? []) {
          if (rtp.type !== 'inbound-rtp') continue;
          note(rtp.kind, participant.identity, rtp.ssrc, (rtp.kind === 'audio' ? rtp.packetsReceived : rtp.framesDecoded) ?? 0);
        }
      }
    }
    setTimeout(look, 30);
  };
  void look();

  const told = (kind) => Object.fromEntries(Object.entries(flows[kind]).map(([who, flow]) => {
    const silent = performance.now() - flow.at;
    return [who, { count: flow.count, gap_ms: Math.max(flow.longest, silent), silent_ms: silent }];
  }));

  window.__witness = {
    look: () => ({
      connected: room.state === 'connected', others: [...room.remoteParticipants.keys()], left: [...left],
      events: [...events], audio: told('audio'), video: told('video'),
    }),
    report: () => {
      const found = window.__witness.look();
      left = [];
      events = [];
      for (const flow of [...Object.values(flows.audio), ...Object.values(flows.video)]) {
        flow.longest = 0;
      }
      return found;
    },
  };
})();
