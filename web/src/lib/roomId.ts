/** Names of rooms: made up for a new meeting, or typed by a person. */

const FIRST = [
  'amber',
  'autumn',
  'brisk',
  'bright',
  'calm',
  'clear',
  'copper',
  'coral',
  'crisp',
  'early',
  'fern',
  'gentle',
  'golden',
  'hazel',
  'humble',
  'indigo',
  'ivory',
  'jade',
  'kind',
  'late',
  'light',
  'lunar',
  'maple',
  'mellow',
  'misty',
  'noble',
  'olive',
  'pearl',
  'quick',
  'quiet',
  'rosy',
  'sandy',
  'silver',
  'snowy',
  'solar',
  'spruce',
  'steady',
  'still',
  'sunny',
  'swift',
  'tidal',
  'velvet',
  'violet',
  'warm',
  'wild',
  'winter',
  'wise',
  'young',
] as const;

const SECOND = [
  'anchor',
  'atlas',
  'bay',
  'beacon',
  'birch',
  'bridge',
  'brook',
  'canyon',
  'cedar',
  'cliff',
  'cloud',
  'coast',
  'comet',
  'cove',
  'creek',
  'delta',
  'dune',
  'falcon',
  'field',
  'finch',
  'fjord',
  'forest',
  'garden',
  'glade',
  'grove',
  'harbor',
  'heron',
  'hill',
  'island',
  'lagoon',
  'lake',
  'lantern',
  'meadow',
  'moon',
  'orchard',
  'otter',
  'pine',
  'pond',
  'prairie',
  'reef',
  'ridge',
  'river',
  'robin',
  'shore',
  'summit',
  'tundra',
  'valley',
  'willow',
] as const;

/** Crockford's alphabet: no i, l, o or u, so a code survives being read aloud. 32 letters, five bits each. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

export const MAX_ROOM_LENGTH = 64;

type RandomBytes = (length: number) => Uint8Array;

const secureBytes: RandomBytes = (length) => crypto.getRandomValues(new Uint8Array(length));

/**
 * A name that one can say and nobody can guess: two words and ten letters, over sixty random bits.
 * Knowing the name is what lets somebody in where the server asks for nothing else.
 */
export function newRoomId(random: RandomBytes = secureBytes): string {
  const bytes = random(12);
  const pick = (words: readonly string[], at: number): string => words[(bytes[at] ?? 0) % words.length] ?? '';
  const code = Array.from(bytes.subarray(2), (byte) => ALPHABET.charAt(byte & 31)).join('');
  return `${pick(FIRST, 0)}-${pick(SECOND, 1)}-${code.slice(0, 5)}-${code.slice(5)}`;
}

/** What a person typed, as a name that looks good in a link; empty when nothing usable is left. */
export function toRoomName(typed: string): string {
  return typed
    .normalize('NFC')
    .trim()
    .toLowerCase()
    .replace(/[\s/\\]+/gu, '-')
    .replace(/[^\p{L}\p{M}\p{N}._-]/gu, '')
    .replace(/-{2,}/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '')
    .slice(0, MAX_ROOM_LENGTH);
}
