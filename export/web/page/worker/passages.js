// How long the passage around a frame of the feature map lasts, and how often the like begins beside it:
// runtime/methods/prototypes/passages.py and prototypes_index/passages.py.

const RANGE_DB = 60;
const QUIET = 0.1;
const SMOOTH_S = 0.05;
const [STEADY_DB, DOWN_DB, DIP_DB] = [6, 10, 3];
const AROUND_S = 2;
const MOST = 2.001; // The larger of two lengths, or rates, in the smaller; rounding must not decide at twice.
const [LENGTHS_S, RATES_PER_S] = [[0.1, 2], [1, 10]]; // Beyond these all count as equal.

/** The first step that does not lie before `value`. */
const steps = (value) => Math.ceil(Number(value.toFixed(6)));
const within = (value, [least, most]) => Math.min(Math.max(value, least), most);

/** Whether lengths, or rates, differ by a factor of 2 at most. */
function alike(one, other, limits) {
  const [a, b] = [within(one, limits), within(other, limits)];
  return a <= MOST * b && b <= MOST * a;
}

/** Whether two passages, [length in seconds, onsets per second], are of like length and rhythm. */
export function likePassages(one, other) {
  return alike(one[0], other[0], LENGTHS_S) && alike(one[1], other[1], RATES_PER_S);
}

/** The passages of one window: amplitude [frames, bins] of its sound, as many `seconds`. */
export class Passages {
  constructor(amplitude, { n_fft, hop, sample_rate }, { bands_hz, frame_seconds }, seconds) {
    Object.assign(this, { amplitude, seconds, bands: bands_hz, frameS: frame_seconds });
    [this.bins, this.stepS, this.binHz] = [n_fft / 2 + 1, hop / sample_rate, sample_rate / n_fft];
  }

  /** The passage around a frame of the feature map: [length in seconds, onsets per second]. */
  at(frame) {
    this.level ??= smoothed(this.levels(), this.stepS);
    this.quiet ??= quantile(this.level, QUIET);
    const { level, stepS } = this;
    const at = this.loudest(frame);
    const standsOut = level[at] - this.quiet;
    if (standsOut < STEADY_DB) return [this.seconds, 0];
    const above = level[at] - Math.min(0.5 * standsOut, DOWN_DB);
    const found = stretches(level, above, above - Math.min(0.25 * standsOut, DIP_DB));
    const own = found.findLast(([begin]) => begin <= at);
    const near = found.map(([begin]) => begin).filter((begin) => Math.abs(begin - at) <= AROUND_S / stepS);
    const rate = near.length > 1 ? (near.length - 1) / ((near.at(-1) - near[0]) * stepS) : 0;
    return [(own[1] - own[0]) * stepS, rate];
  }

  /** The frame of the analysis at which a frame of the feature map is loudest. */
  loudest(frame) {
    const { level, stepS, frameS } = this;
    const begin = Math.min(steps((frame * frameS) / stepS), level.length - 1);
    const end = Math.min(Math.max(steps(((frame + 1) * frameS) / stepS), begin + 1), level.length);
    let best = begin;
    for (let at = begin; at < end; at++) if (level[at] > level[best]) best = at;
    return best;
  }

  /** The level of every frame of the analysis in dB, the mean over the bands. */
  levels() {
    const { amplitude, bins, binHz, bands } = this;
    const frames = amplitude.length / bins;
    const spans = bands.map(([low, high]) => {
      const first = Math.min(steps(low / binHz), bins - 1);
      return [first, Math.max(Math.min(steps(high / binHz), bins), first + 1)];
    });
    const power = Array.from({ length: frames }, (_, t) => spans.map(([first, last]) => {
      let sum = 0;
      for (let f = first; f < last; f++) sum += amplitude[t * bins + f] ** 2;
      return sum / (last - first);
    }));
    const floor = Math.max(Math.max(...power.map((row) => Math.max(...row))) * 10 ** (-0.1 * RANGE_DB), 1e-30);
    return power.map((row) => row.reduce((sum, one) => sum + 10 * Math.log10(Math.max(one, floor)), 0) / row.length);
  }
}

/** Means of an odd number of frames, about 50 ms; the outermost are repeated. */
function smoothed(level, stepS) {
  const beside = Math.floor((0.5 * SMOOTH_S) / stepS);
  return level.map((_, t) => {
    let sum = 0;
    for (let s = t - beside; s <= t + beside; s++) sum += level[Math.min(Math.max(s, 0), level.length - 1)];
    return sum / (2 * beside + 1);
  });
}

/** What a share of the values lies below, between two of them in proportion. */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/** [begin, end] of the stretches above a level, of which those without a dip between them are one. */
function stretches(level, above, dip) {
  const found = [];
  let [begin, lowest] = [-1, -Infinity];
  level.forEach((value, t) => {
    if (value < above) {
      if (begin >= 0) found.push([begin, t]);
      lowest = begin >= 0 ? value : Math.min(lowest, value);
      begin = -1;
    } else if (begin < 0) {
      begin = found.length && lowest >= dip ? found.pop()[0] : t;
    }
  });
  if (begin >= 0) found.push([begin, level.length]);
  return found;
}
