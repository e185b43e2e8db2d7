// One sound: every window classified, then explained for a target. As runtime/explaining does it.

import { Evidence, OverlapAdd, aggregate, largest, scoresOf } from "./joining.js";
import { Passages } from "./passages.js";
import { WindowPlaces } from "./places.js";
import { resampled } from "./resampling.js";
import { Candidates, PLACES } from "./search.js";
import { cut, divisorOf, mono, windowAt } from "./sound.js";

const CHANNELS = 5; // That are listed with their contributions.
const KEPT_BYTES = 256 << 20; // Of classified windows; those beyond are classified again.
const PICTURE = [1200, 320]; // Columns and rows at the most.
const RANGE_DB = 80;

/** A sound as the model hears it, and what it says of every window. */
export class Classified {
  /** channels: [C] of samples at `rate` Hz; tell(done, of): progress */
  static async of(model, channels, rate, tell) {
    const { facts } = model;
    const whole = new Classified();
    const length = Math.ceil((channels[0].length * facts.sample_rate) / rate);
    whole.model = model;
    whole.samples = resampled(mono(channels), rate, facts.sample_rate, length);
    whole.divisor = divisorOf(whole.samples, facts.window);
    Object.assign(whole, cut(length, facts.window));
    whole.kept = [];
    whole.left = KEPT_BYTES;
    whole.logits = [];
    for (let number = 0; number < whole.offsets.length; number++) {
      const window = await whole.classify(number);
      whole.logits.push([...window.tensors.logits.data]);
      whole.left -= window.bytes;
      whole.kept.push(whole.left >= 0 ? window : null);
      tell(number + 1, whole.offsets.length);
    }
    const rows = whole.logits.map((row) => scoresOf(row, facts.task));
    whole.scores = aggregate(rows, facts.window.aggregate);
    return whole;
  }

  async classify(number) {
    const { model, samples, offsets, size, divisor } = this;
    const window = windowAt(samples, offsets[number], size, model.facts.window, divisor);
    window.offset = offsets[number];
    window.tensors = await model.classify(window.wave);
    window.bytes = Object.values(window.tensors).reduce((sum, { data }) => sum + data.byteLength, window.wave.byteLength);
    return window;
  }

  async window(number) {
    return this.kept[number] ?? this.classify(number);
  }
}

/** What is said of a classified sound for a target: mask, kept sound, prototypes, contributions. */
export async function explain(classified, prototypes, target, tell) {
  const { model, offsets, samples } = classified;
  const { facts } = model;
  const mask = facts.mask ? new MaskOfSound(facts, samples.length, offsets.length === 1) : null;
  const nearest = prototypes ? new PrototypesOfSound(prototypes, facts, target) : null;
  const seen = mask ? mask.evidence : new Evidence(1 + Math.floor(samples.length / facts.hop), facts.n_fft / 2 + 1);
  for (let number = 0; number < offsets.length; number++) {
    const window = await classified.window(number);
    const logits = classified.logits[number];
    const answers = model.explaining ? await model.explain(window.tensors, target, window.wave.length) : {};
    const amplitude = amplitudeOf(window, facts);
    seen.show(frameOf(window, facts), amplitude.map((one) => one * Math.abs(window.level)), seen.amplitude);
    mask?.add(window, answers, amplitude, facts.mask === "predicted" && largest(logits) !== target);
    nearest?.add(window, answers, logits[target], samples.length, amplitude);
    tell(number + 1, offsets.length);
  }
  const answer = { target, mask: mask ? mask.finish() : null, picture: pictureOf(seen, mask !== null) };
  return nearest ? { ...answer, ...nearest.finish() } : answer;
}

function frameOf({ offset }, facts) {
  return roundEven(offset / facts.hop);
}

/** As Python rounds: a half to the even number. */
function roundEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** |S| of the frames of a window that are sound, [frames, bins], at the model's level. */
function amplitudeOf(window, facts) {
  const { data, dims } = window.tensors.stft;
  const frames = Math.min(dims[1], 1 + Math.floor(window.real / facts.hop));
  const amplitude = new Float32Array(frames * dims[2]);
  for (let at = 0; at < amplitude.length; at++) amplitude[at] = Math.hypot(data[2 * at], data[2 * at + 1]);
  return amplitude;
}

class MaskOfSound {
  constructor(facts, samples, single) {
    Object.assign(this, { facts, samples, single });
    const bins = facts.n_fft / 2 + 1;
    this.evidence = new Evidence(1 + Math.floor(samples / facts.hop), bins);
    this.joined = new OverlapAdd(2 * bins);
    this.sound = new OverlapAdd(1);
    this.kept = new Float32Array(samples);
    this.at = { frame: 0, sample: 0 };
    this.last = new Float32Array(bins);
    this.silenced = 0;
  }

  add(window, answers, amplitude, silent) {
    const bins = this.evidence.bins;
    const mask = answers.mask.data.slice(0, amplitude.length);
    const kept = answers.kept.data.slice(0, window.real);
    for (let n = 0; n < kept.length; n++) kept[n] = silent ? 0 : kept[n] * Math.fround(window.level);
    if (silent) {
      mask.fill(0);
      this.silenced += 1;
    }
    const frames = amplitude.length / bins;
    const both = new Float32Array(2 * amplitude.length);
    for (let t = 0; t < frames; t++) {
      for (let f = 0; f < bins; f++) {
        both[2 * t * bins + f] = mask[t * bins + f];
        both[(2 * t + 1) * bins + f] = mask[t * bins + f] * Math.log1p(amplitude[t * bins + f]);
      }
    }
    if (this.single) {
      this.store(both);
      this.keep(kept);
    } else {
      this.store(this.joined.add(frameOf(window, this.facts), both));
      this.keep(this.sound.add(window.offset, kept));
    }
  }

  /** Finished frames of mask and evidence, side by side. */
  store(both) {
    const { bins, frames } = this.evidence;
    const count = Math.min(both.length / (2 * bins), frames - this.at.frame);
    const part = (from) => {
      const rows = new Float32Array(count * bins);
      for (let t = 0; t < count; t++) rows.set(both.subarray((2 * t + from) * bins, (2 * t + from + 1) * bins), t * bins);
      return rows;
    };
    const mask = part(0);
    this.evidence.weigh(this.at.frame, part(1));
    this.show(mask);
  }

  show(mask) {
    const { bins } = this.evidence;
    this.evidence.show(this.at.frame, mask, this.evidence.mask);
    for (const value of mask) this.evidence.sum += value;
    if (mask.length) this.last = mask.slice(-bins);
    this.at.frame += mask.length / bins;
  }

  keep(sound) {
    const part = sound.subarray(0, this.kept.length - this.at.sample);
    this.kept.set(part, this.at.sample);
    this.at.sample += part.length;
  }

  finish() {
    const { evidence, facts } = this;
    if (!this.single) {
      this.store(this.joined.finish());
      this.keep(this.sound.finish());
      // The last window ends between two frames: one frame may be its shadow.
      if (this.at.frame < evidence.frames) this.show(this.last);
    }
    const frameS = facts.hop / facts.sample_rate;
    return {
      kept: this.kept,
      area: evidence.sum / (evidence.frames * evidence.bins),
      spans: evidence.spans(frameS, this.samples / facts.sample_rate),
      band: evidence.band(facts.sample_rate / facts.n_fft),
      columns: { values: evidence.mask, dims: [evidence.columns, evidence.bins] },
      silenced: this.silenced,
    };
  }
}

class PrototypesOfSound {
  constructor(prototypes, facts, target) {
    Object.assign(this, { prototypes, facts, target });
    this.best = new Map(prototypes.facts.views.map(({ name }) => [name, new Candidates()]));
    this.window = null;
  }

  add(window, answers, logit, samples, amplitude) {
    const { facts, target } = this;
    const index = this.prototypes;
    const rate = facts.sample_rate;
    const real = Math.max(1, Math.min(window.wave.length, samples - window.offset));
    const span = { start: window.offset / rate, real: real / rate, padded: real < window.wave.length };
    const places = new WindowPlaces(answers, index.facts, span);
    const { contributions, bias } = answers;
    const [, classes, channels] = contributions?.dims ?? [];
    const own = contributions ? contributions.data.subarray(target * channels, (target + 1) * channels) : null;
    places.weigh(own, index.headOf(target), this.attention(window, places));
    const passages = new Passages(amplitude, facts, index.facts, span.real);
    for (const [view, candidates] of this.best) {
      candidates.add(places.best(view, PLACES).map((one) => ({ ...one, passages })));
    }
    if (!this.window || logit > this.window.logit) {
      this.window = { logit, places, bias: bias && classes ? bias.data[target] : null };
    }
  }

  /** Weights of the cells by attention pooling, of the target where each class has its own; null without. */
  attention(window, { frames, rows }) {
    const tensor = window.tensors[this.prototypes.facts.attention];
    if (!tensor) return null;
    const each = tensor.dims.at(-1) * tensor.dims.at(-2);
    const row = tensor.dims.length === 4 ? Math.min(this.target, tensor.dims[1] - 1) : 0;
    return tensor.data.subarray(row * each, row * each + frames * rows);
  }

  finish() {
    const views = [...this.best].map(([name, { held }]) => ({ name, matches: this.prototypes.nearest(name, held) }));
    return { views, contributions: this.contributions() };
  }

  /** The channels that count most in the window with the largest logit, and what they add where that is known. */
  contributions() {
    const { logit, places, bias } = this.window;
    const { kind } = this.prototypes.facts;
    const order = [...places.shares.square.keys()].sort((a, b) => places.shares.square[b] - places.shares.square[a] || a - b);
    const rows = order.slice(0, CHANNELS).map((channel) => ({
      channel, value: places.contributions?.[channel] ?? null, box: places.place("square", channel),
    }));
    const sum = rows.reduce((total, { value }) => total + value, 0);
    const additive = kind === "additive";
    return {
      kind, logit, rows, bias: additive ? bias : null, remainder: additive ? logit - bias - sum : null,
      others: places.channels - rows.length,
    };
  }
}

/** Loudness and mask as pictures of bytes, the highest frequency first. */
function pictureOf(evidence, masked) {
  const { columns, bins } = evidence;
  const peak = evidence.amplitude.reduce((most, one) => Math.max(most, one), 0);
  const loud = (one) => (peak > 0 ? Math.min(1, Math.max(0, 1 + (20 * Math.log10(Math.max(one / peak, 1e-7))) / RANGE_DB)) : 0);
  const shrink = (values, of) => {
    const [width, height] = [Math.min(columns, PICTURE[0]), Math.min(bins, PICTURE[1])];
    const bytes = new Uint8Array(width * height);
    for (let t = 0; t < columns; t++) {
      const x = Math.floor(((t + 1) * width - 1) / columns);
      for (let f = 0; f < bins; f++) {
        const y = height - 1 - Math.floor(((f + 1) * height - 1) / bins);
        bytes[y * width + x] = Math.max(bytes[y * width + x], Math.round(255 * of(values[t * bins + f])));
      }
    }
    return { width, height, values: bytes };
  };
  return { loudness: shrink(evidence.amplitude, loud), mask: masked ? shrink(evidence.mask, (one) => one) : "" };
}
