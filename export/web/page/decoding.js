// Sound files as samples at their own rate: WAV here, to the bit; everything else by the browser.

const MOST_BYTES = 512 << 20; // Of a file: decoded, it takes several times that.
const NO_SOUND = "is no sound that this browser can read. WAV, FLAC, Ogg, MP3 and AAC usually are.";

/** A file as { channels, rate, name }. */
async function soundOf(blob, name, longestSeconds) {
  let bytes;
  try {
    bytes = await blob.arrayBuffer();
  } catch {
    throw new Error(`${name} cannot be read. Is it a folder, or was it moved?`);
  }
  const sound = wavSamples(new DataView(bytes)) ?? (await browserSamples(bytes, name));
  return checked({ ...sound, name }, longestSeconds);
}

/** The sound, if it is one that can be explained. */
function checked(sound, longestSeconds) {
  const { channels, rate, name } = sound;
  const length = channels[0]?.length ?? 0;
  if (!length) throw new Error(`${name} has no samples.`);
  if (length / rate > longestSeconds) {
    throw new Error(`${name} lasts ${seconds(length / rate, 0)}; this page takes up to ${longestSeconds / 60} minutes. Cut it, or use earmark detect.`);
  }
  for (const channel of channels) {
    const bad = channel.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new Error(`${name} holds a value that is no number at ${(bad / rate).toFixed(3)} s; replace such samples first.`);
  }
  return sound;
}

/** The channels of a WAV of integers or floats; null for anything else. */
function wavSamples(view) {
  const text = (at) => (at + 4 <= view.byteLength ? String.fromCharCode(...new Uint8Array(view.buffer, at, 4)) : "");
  if (text(0) !== "RIFF" || text(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    const start = at + 8;
    if (text(at) === "fmt " && start + 16 <= view.byteLength) format = wavFormat(view, start, size);
    if (text(at) === "data" && format) return wavChannels(view, start, Math.min(size, view.byteLength - start), format);
    at = start + size + (size % 2);
  }
  return null;
}

function wavFormat(view, start, size) {
  let kind = view.getUint16(start, true);
  // An extensible format says what it is in its first two bytes of the subformat.
  if (kind === 0xfffe && size >= 26 && start + 26 <= view.byteLength) kind = view.getUint16(start + 24, true);
  return {
    kind, channels: view.getUint16(start + 2, true), rate: view.getUint32(start + 4, true), bits: view.getUint16(start + 14, true),
  };
}

const WAV_READERS = {
  "1/8": (view, at) => (view.getUint8(at) - 128) / 128,
  "1/16": (view, at) => view.getInt16(at, true) / 32768,
  "1/24": (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 8388608,
  "1/32": (view, at) => view.getInt32(at, true) / 2147483648,
  "3/32": (view, at) => view.getFloat32(at, true),
  "3/64": (view, at) => view.getFloat64(at, true),
};

function wavChannels(view, start, size, { kind, channels, rate, bits }) {
  const read = WAV_READERS[`${kind}/${bits}`];
  if (!read || !channels || !rate) return null;
  const frame = (channels * bits) / 8;
  const length = Math.floor(size / frame);
  return {
    rate,
    channels: Array.from({ length: channels }, (_, c) => {
      const samples = new Float32Array(length);
      for (let n = 0; n < length; n++) samples[n] = read(view, start + n * frame + (c * bits) / 8);
      return samples;
    }),
  };
}

/** The channels as the browser decodes them, at the file's rate where that can be told. */
async function browserSamples(bytes, name) {
  const rate = Math.min(Math.max(rateOf(new DataView(bytes)) ?? 48000, 8000), 96000);
  try {
    const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
    return { rate, channels: Array.from({ length: buffer.numberOfChannels }, (_, c) => buffer.getChannelData(c)) };
  } catch {
    throw new Error(`${name} ${NO_SOUND}`);
  }
}

const MPEG_RATES = [44100, 48000, 32000];

/** The rate of FLAC, Ogg, MPEG and WAV sound; null for what is none of them. */
function rateOf(view) {
  const bytes = new Uint8Array(view.buffer, 0, Math.min(view.byteLength, 1 << 16));
  const text = String.fromCharCode(...bytes.subarray(0, 4));
  if (text === "RIFF" && bytes.length > 28) return view.getUint32(24, true) || null;
  if (text === "fLaC" && bytes.length > 21) return (view.getUint32(18) >>> 12) || null;
  if (text === "OggS" && bytes.length > 64) {
    const packet = 27 + bytes[26];
    const kind = String.fromCharCode(...bytes.subarray(packet, packet + 8));
    if (kind.startsWith("\x01vorbis")) return view.getUint32(packet + 12, true);
    if (kind.startsWith("\x7fFLAC")) return view.getUint32(packet + 27) >>> 12;
    return 48000;
  }
  // An ID3 tag says its length in seven bits a byte.
  let at = text.startsWith("ID3") ? 10 + bytes.subarray(6, 10).reduce((sum, one) => sum * 128 + one, 0) : 0;
  for (; at + 4 <= bytes.length; at++) {
    if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) continue;
    const [version, layer, index] = [(bytes[at + 1] >> 3) & 3, (bytes[at + 1] >> 1) & 3, (bytes[at + 2] >> 2) & 3];
    // MPEG 1 as it is, 2 the half, 2.5 a quarter; AAC in ADTS has no layer and another table.
    if (layer && index < 3 && version !== 1) return MPEG_RATES[index] / (version === 3 ? 1 : version === 2 ? 2 : 4);
    return null;
  }
  return null;
}
