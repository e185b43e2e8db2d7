// Where in a window prototypes are looked up: runtime/methods/prototypes/places.py and prototypes_index/views.py.
//
// Maps are { square: [T, F, C], time: [T, C], frequency: [F, C] } as flat arrays; numbers are doubles, where
// Python has float32, which tells no places apart.

export const LOCALISES_TIME = new Set(["square", "time", "time_frequency"]);
export const LOCALISES_FREQUENCY = new Set(["square", "frequency", "time_frequency"]);
const CONTRAST = 0.9;
const PASSAGE = 1.5; // What the passage counts beside the band.

/** The first largest of `count` values a channel, `stride` apart: where, and what. */
function peaks(values, count, channels) {
  const at = new Int32Array(channels);
  const scores = Float64Array.from(values.subarray(0, channels));
  for (let place = 1; place < count; place++) {
    for (let c = 0; c < channels; c++) {
      const value = values[place * channels + c];
      if (value > scores[c]) [scores[c], at[c]] = [value, place];
    }
  }
  return { at, scores };
}

/** The mean over the first axis of [count, width]. */
function meanOf(values, count, width) {
  const mean = new Float64Array(width);
  for (let at = 0; at < count * width; at++) mean[at % width] += values[at] / count;
  return mean;
}

/** A vector divided by its length; one of zeros stays. */
export function normalised(vector) {
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.max(Math.sqrt(squares), 1e-8);
  return Float64Array.from(vector, (value) => value / length);
}

export class WindowPlaces {
  /**
   * square, time, frequency: the views' maps of a window as tensors; prototypes: what model.json says;
   * real: seconds of sound in it; start: where it begins; padded: whether zeros follow
   */
  constructor({ square, time, frequency }, prototypes, { start, real, padded }) {
    const [, frames, rows, channels] = square.dims;
    const held = padded ? Math.max(1, Math.ceil(Number((real / prototypes.frame_seconds).toFixed(6)))) : frames;
    Object.assign(this, { prototypes, start, real, rows, channels, frames: Math.min(frames, held) });
    this.square = square.data.subarray(0, this.frames * rows * channels);
    this.time = time.data.subarray(0, this.frames * channels);
    this.frequency = this.frames < frames ? meanOf(this.square, this.frames, rows * channels) : frequency.data;
    this.overTime = meanOf(this.time, this.frames, channels);
    this.overRows = meanOf(this.frequency, rows, channels);
    this.peaks = this.peaksOf();
  }

  /** Of each view: frame and row at which each channel peaks, and its value there. */
  peaksOf() {
    const { rows, channels } = this;
    const cells = peaks(this.square, this.frames * rows, channels);
    const time = peaks(this.time, this.frames, channels);
    const frequency = peaks(this.frequency, rows, channels);
    const both = time.scores.map((score, c) => 0.5 * (score + frequency.scores[c]));
    const found = {
      square: { frame: cells.at.map((at) => Math.floor(at / rows)), row: cells.at.map((at) => at % rows), scores: cells.scores },
    };
    for (const [view, scores] of [["time", time.scores], ["frequency", frequency.scores], ["time_frequency", both]]) {
      found[view] = { frame: time.at, row: frequency.at, scores };
    }
    return found;
  }

  /** Takes what channels say of the target: contributions [C] or null, weights [C] of a linear head or null. */
  weigh(contributions, head, attention) {
    this.contributions = contributions;
    this.shares = Object.fromEntries(Object.entries(this.peaks).map(([view, { scores }]) => [view, sharesOf(contributions, scores)]));
    const square = this.peaks.square.scores;
    const slope = head ?? this.shares.square.map((share, c) => (square[c] > 1e-6 ? share / square[c] : 0));
    const { frames, rows, channels } = this;
    this.evidence = new Float64Array(frames * rows);
    for (let cell = 0; cell < frames * rows; cell++) {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += this.square[cell * channels + c] * slope[c];
      this.evidence[cell] = attention ? sum * attention[cell] : sum;
    }
    this.sustained = meanOf(this.evidence, frames, rows);
    const cells = this.evidence.map((value, cell) => value - this.sustained[cell % rows]);
    const passages = Float64Array.from({ length: frames }, (_, t) => {
      let sum = 0;
      for (let f = 0; f < rows; f++) sum += this.evidence[t * rows + f];
      return sum / rows;
    });
    const mean = passages.reduce((sum, one) => sum + one, 0) / frames;
    this.passages = passages.map((one) => one - mean);
    this.cells = this.outstanding(cells, this.square, this.frequency, rows);
    this.outstandingPassages = this.outstanding(this.passages, this.time, this.overTime, 1);
  }

  /** Positive evidence times the share of a place's energy that is not common to the sound. */
  outstanding(evidence, vectors, common, rows) {
    const { channels } = this;
    return evidence.map((value, place) => {
      if (!(value > 0)) return value;
      let [whole, beyond] = [0, 0];
      for (let c = 0; c < channels; c++) {
        const one = vectors[place * channels + c];
        whole += one * one;
        beyond += (one - common[(place % rows) * channels + c]) ** 2;
      }
      return (value * beyond) / Math.max(whole, 1e-12);
    });
  }

  evidenceAt(view, frame, row) {
    if (view === "square") return this.cells[frame * this.rows + row];
    if (view === "frequency") return this.sustained[row];
    return (view === "time" ? this.passages : this.outstandingPassages)[frame];
  }

  /** The `count` places of a view with the most evidence: { weight, vector, place, frame }. */
  best(view, count) {
    const { frame, row } = this.peaks[view];
    const evidence = [...frame].map((at, c) => this.evidenceAt(view, at, row[c]));
    if (LOCALISES_TIME.has(view)) {
      const outer = [...frame].map((at) => at === 0 || at === this.frames - 1);
      if (!outer.every(Boolean)) outer.forEach((is, c) => is && (evidence[c] = -Infinity));
    }
    const cell = (c) => (view === "frequency" ? row[c] : view === "time" ? frame[c] : frame[c] * this.rows + row[c]);
    const chosen = [];
    while (chosen.length < count) {
      let channel = 0;
      evidence.forEach((value, c) => value > evidence[channel] && (channel = c));
      const weight = evidence[channel];
      if (weight === -Infinity) break;
      const vector = this.vector(view, frame[channel], row[channel]);
      chosen.push({ weight, vector, place: this.place(view, channel), frame: frame[channel] });
      const taken = cell(channel);
      evidence.forEach((_, c) => cell(c) === taken && (evidence[c] = -Infinity));
    }
    return chosen;
  }

  /** The vector of a place, not normalised. */
  vector(view, frame, row) {
    const { channels } = this;
    const less = (values, at, common) => Float64Array.from({ length: channels }, (_, c) => values[at * channels + c] - CONTRAST * common[c]);
    if (view === "square") {
      return less(this.square, frame * this.rows + row, this.frequency.subarray(row * channels, (row + 1) * channels));
    }
    const band = less(this.frequency, row, this.overRows);
    if (view === "frequency") return band;
    const passage = less(this.time, frame, this.overTime);
    if (view === "time") return passage;
    return Float64Array.of(...normalised(passage).map((value) => PASSAGE * value), ...normalised(band));
  }

  /** Where a channel peaks: [begin, end] in seconds, [low, high] in Hz. */
  place(view, channel) {
    const { frame, row } = this.peaks[view];
    const { frame_seconds: step, bands_hz: bands } = this.prototypes;
    const begins = LOCALISES_TIME.has(view) ? Math.min(frame[channel] * step, Math.max(0, this.real - step)) : 0;
    const ends = LOCALISES_TIME.has(view) ? Math.min((frame[channel] + 1) * step, this.real) : this.real;
    const [low, high] = LOCALISES_FREQUENCY.has(view)
      ? bands[row[channel]]
      : [Math.min(...bands.map((band) => band[0])), Math.max(...bands.map((band) => band[1]))];
    return [this.start + begins, this.start + ends, low, high];
  }
}

/** Positive contributions; where there are none, positive scores. */
function sharesOf(contributions, scores) {
  const some = contributions?.some((one) => one > 0) ? contributions : scores;
  return Float64Array.from(some, (one) => Math.max(one, 0));
}
