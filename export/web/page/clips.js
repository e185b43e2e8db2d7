// Stretches of training clips, with their spectrograms: what runtime/report makes in Python.

const AROUND_S = 1;
const LONGEST_CLIP_S = 3;
const SMALL = [220, 96];
const FRAME_S = 0.025;
const RANGE_DB = 80;

/** Real and imaginary parts of the Fourier transform of real samples, whose number is a power of 2, in place. */
function fourier(real, imaginary) {
  const count = real.length;
  for (let n = 1, turned = 0; n < count; n++) {
    let bit = count >> 1;
    for (; turned & bit; bit >>= 1) turned ^= bit;
    turned ^= bit;
    if (n < turned) [real[n], real[turned]] = [real[turned], real[n]];
  }
  for (let size = 2; size <= count; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const [cos, sin] = [Math.cos((2 * Math.PI * k) / size), -Math.sin((2 * Math.PI * k) / size)];
      for (let at = k; at < count; at += size) {
        const other = at + size / 2;
        const re = real[other] * cos - imaginary[other] * sin;
        const im = real[other] * sin + imaginary[other] * cos;
        [real[other], imaginary[other]] = [real[at] - re, imaginary[at] - im];
        real[at] += re;
        imaginary[at] += im;
      }
    }
  }
}

/** A small picture of a sound: loudness over time and frequency, the highest frequency first. */
function spectrogramOf(samples, rate) {
  const size = 2 ** Math.max(4, Math.ceil(Math.log2(FRAME_S * rate)));
  const [hop, bins] = [size / 4, size / 2 + 1];
  const frames = 1 + Math.floor(samples.length / hop);
  const [width, height] = [Math.min(frames, SMALL[0]), Math.min(bins, SMALL[1])];
  const amplitude = new Float32Array(width * height);
  for (let t = 0; t < frames; t++) {
    const real = Float64Array.from({ length: size }, (_, n) =>
      (samples[t * hop + n - size / 2] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size)));
    const imaginary = new Float64Array(size);
    fourier(real, imaginary);
    const x = Math.floor(((t + 1) * width - 1) / frames);
    for (let f = 0; f < bins; f++) {
      const at = (height - 1 - Math.floor(((f + 1) * height - 1) / bins)) * width + x;
      amplitude[at] = Math.max(amplitude[at], Math.hypot(real[f], imaginary[f]));
    }
  }
  const peak = amplitude.reduce((most, one) => Math.max(most, one), 0);
  const values = Uint8Array.from(amplitude, (one) =>
    peak > 0 ? Math.round(255 * Math.min(1, Math.max(0, 1 + (20 * Math.log10(Math.max(one / peak, 1e-7))) / RANGE_DB))) : 0);
  return { loudness: { width, height, values }, mask: "", seconds: samples.length / rate, max_hz: rate / 2 };
}

/** The clips that matches show, each stretch once; what cannot be read is left out. */
class Clips {
  constructor(rate) {
    this.rate = rate;
    this.files = new Map();
    this.clips = [];
    this.known = new Map();
  }

  /** The number of the stretch of a match, or null. */
  async stretch({ there, clip }, windowS) {
    if (!clip.audio) return null;
    const length = Math.min(windowS, there[1] - there[0] + 2 * AROUND_S, LONGEST_CLIP_S);
    const begin = Math.max(0, (there[0] + there[1]) / 2 - length / 2);
    const samples = await this.samplesOf(clip.audio);
    if (!samples) return null;
    const first = Math.min(Math.max(0, Math.round(begin * this.rate)), samples.length - 1);
    const part = samples.slice(first, Math.max(first + 1, Math.round((begin + length) * this.rate))).map((value) => value * clip.gain);
    const key = `${clip.audio} ${first} ${part.length}`;
    if (!this.known.has(key)) {
      this.known.set(key, this.clips.length);
      this.clips.push({
        name: clip.name, start_s: first / this.rate, picture: spectrogramOf(part, this.rate),
        sounds: { rate: this.rate, scale: 1, original: bufferOf(part, this.rate), kept: "" },
      });
    }
    return this.known.get(key);
  }

  /** A clip's sound, fetched once; null where it cannot be. */
  samplesOf(audio) {
    if (!this.files.has(audio)) {
      this.files.set(audio, (async () => {
        try {
          const response = await fetch(`model/prototypes/audio/${encodeURIComponent(audio)}`);
          if (!response.ok) return null;
          const buffer = await new OfflineAudioContext(1, 1, this.rate).decodeAudioData(await response.arrayBuffer());
          return buffer.getChannelData(0);
        } catch {
          return null;
        }
      })());
    }
    return this.files.get(audio);
  }
}

function bufferOf(samples, rate) {
  const buffer = new AudioBuffer({ length: Math.max(1, samples.length), numberOfChannels: 1, sampleRate: rate });
  buffer.getChannelData(0).set(samples);
  return buffer;
}
