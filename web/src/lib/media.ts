/** Small helpers around the browser's devices. */

/** Whether this page may ask for devices at all: false over plain HTTP from another machine. */
export function hasMediaDevices(): boolean {
  return (navigator as { mediaDevices?: MediaDevices }).mediaDevices !== undefined;
}

export function canShareScreen(): boolean {
  return hasMediaDevices() && 'getDisplayMedia' in navigator.mediaDevices;
}

/** A short rising chime through one loudspeaker; empty id is the system's choice. */
export async function playChime(speakerId: string): Promise<void> {
  const context = new AudioContext();
  const sink = context.createMediaStreamDestination();
  const player = new Audio();
  player.srcObject = sink.stream;
  if (speakerId !== '' && 'setSinkId' in player) await player.setSinkId(speakerId);
  await player.play();
  [523.25, 659.25, 783.99].forEach((frequency, step) => {
    const at = context.currentTime + 0.05 + step * 0.14;
    const gain = context.createGain();
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(0.18, at + 0.02);
    gain.gain.exponentialRampToValueAtTime(0.001, at + 0.5);
    const tone = new OscillatorNode(context, { frequency });
    tone.connect(gain).connect(sink);
    tone.start(at);
    tone.stop(at + 0.55);
  });
  await new Promise((done) => setTimeout(done, 1100));
  player.srcObject = null;
  await context.close();
}
