// What windows say, joined: scores, masks, sound; and where the evidence lies. As runtime/ does it.

const SHARPNESS = 5; // Of log-mean-exp.
const COLUMNS = 1200;
const STRONG = 0.5; // Share of the strongest frame's evidence from which on a frame counts.
const GAP_S = 0.05;
const SHORTEST_S = 0.03;

/** Scores of logits; of a regression they are its values. */
export function scoresOf(logits, task) {
  if (task === "regression") return logits;
  if (task === "multi_label") return logits.map((one) => 0.5 * (1 + Math.tanh(0.5 * one)));
  const most = Math.max(...logits);
  const powers = logits.map((one) => Math.exp(one - most));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

/** Scores of a sound from those of its windows. */
export function aggregate(rows, how) {
  return rows[0].map((_, k) => {
    const values = rows.map((row) => row[k]);
    if (how === "max") return Math.max(...values);
    const of = how === "lme" ? (one) => Math.exp(SHARPNESS * one) : (one) => one;
    const mean = values.reduce((total, one) => total + of(one), 0) / values.length;
    return how === "lme" ? Math.log(mean) / SHARPNESS : mean;
  });
}

/** The index of the largest value, the first among equals. */
export function largest(values) {
  let best = 0;
  for (let k = 1; k < values.length; k++) if (values[k] > values[best]) best = k;
  return best;
}

/** Overlap-add of rows of `width` values, weighted by a triangle; windows come in order. */
export class OverlapAdd {
  constructor(width) {
    this.width = width;
    this.start = 0;
    this.values = new Float32Array(0);
    this.weights = new Float32Array(0);
  }

  /** Sees rows at `offset`; gives the rows before it, which are finished. */
  add(offset, rows) {
    const done = this.take(offset - this.start);
    const length = rows.length / this.width;
    if (length > this.weights.length) {
      this.values = longer(this.values, length * this.width);
      this.weights = longer(this.weights, length);
    }
    for (let n = 0; n < length; n++) {
      const weight = Math.min(n + 1, length - n);
      this.weights[n] += weight;
      for (let at = n * this.width; at < (n + 1) * this.width; at++) this.values[at] += weight * rows[at];
    }
    return done;
  }

  finish() {
    return this.take(this.weights.length);
  }

  take(count) {
    const done = new Float32Array(count * this.width);
    for (let n = 0; n < Math.min(count, this.weights.length); n++) {
      if (this.weights[n] === 0) continue;
      for (let at = n * this.width; at < (n + 1) * this.width; at++) done[at] = this.values[at] / this.weights[n];
    }
    this.values = this.values.slice(count * this.width);
    this.weights = this.weights.slice(count);
    this.start += count;
    return done;
  }
}

function longer(values, length) {
  const grown = new Float32Array(length);
  grown.set(values);
  return grown;
}

/** When and in which band the evidence M log1p|S| lies, and a picture's worth of amplitude and mask. */
export class Evidence {
  constructor(frames, bins) {
    Object.assign(this, { frames, bins });
    this.overTime = new Float32Array(frames);
    this.overBins = new Float64Array(bins);
    this.perColumn = Math.max(1, Math.ceil(frames / COLUMNS));
    this.columns = Math.ceil(frames / this.perColumn);
    this.amplitude = new Float32Array(this.columns * bins);
    this.mask = new Float32Array(this.columns * bins);
    this.sum = 0;
  }

  /** Sees evidence [n, bins] from frame `first` on. */
  weigh(first, evidence) {
    const { bins } = this;
    for (let t = 0; t < Math.min(evidence.length / bins, this.frames - first); t++) {
      let sum = 0;
      for (let f = 0; f < bins; f++) {
        sum += evidence[t * bins + f];
        this.overBins[f] += evidence[t * bins + f];
      }
      this.overTime[first + t] = Math.max(this.overTime[first + t], sum);
    }
  }

  /** Sees amplitude or mask [n, bins] of a picture from frame `first` on. */
  show(first, values, shown) {
    const { bins } = this;
    for (let t = 0; t < Math.min(values.length / bins, this.frames - first); t++) {
      const column = Math.floor((first + t) / this.perColumn) * bins;
      for (let f = 0; f < bins; f++) shown[column + f] = Math.max(shown[column + f], values[t * bins + f]);
    }
  }

  /** Stretches [begin, end] in seconds of strong evidence. */
  spans(frameS, endS) {
    const at = largest(this.overTime);
    const peak = this.overTime[at];
    if (!(peak > 0)) return [];
    const spans = [];
    for (let t = 0; t < this.frames; t++) {
      if (this.overTime[t] < STRONG * peak) continue;
      const [low, high] = [Math.max(0, (t - 0.5) * frameS), Math.min(endS, (t + 0.5) * frameS)];
      const last = spans.at(-1);
      if (last && low - last[1] <= GAP_S) last[1] = high;
      else spans.push([low, high]);
    }
    const strongest = Math.min(at * frameS, endS);
    return spans.filter(([low, high]) => high - low >= SHORTEST_S * 0.999 || (low <= strongest && strongest <= high));
  }

  /** The central 80 % of the evidence, [low, high] in Hz. */
  band(binHz) {
    const total = this.overBins.reduce((sum, one) => sum + one, 0);
    if (!(total > 0)) return [0, (this.bins - 1) * binHz];
    let sum = 0;
    const shares = [...this.overBins].map((one) => (sum += one) / total);
    const reached = (share) => {
      const bin = shares.findIndex((one) => one >= share);
      return (bin < 0 ? this.bins - 1 : bin) * binHz;
    };
    return [reached(0.1), reached(0.9)];
  }
}
