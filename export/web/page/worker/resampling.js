// Resampling with the filters of soxr's "HQ", which the Python runtime uses.
//
// soxr takes one filter where a few samples become a few, and two in a row elsewhere: a steep one at twice the lower
// rate, and one that goes from there to the other rate. All are sincs under Kaiser windows. Their numbers were fitted
// to soxr's impulse responses, of which they leave 5e-5 of the peak for usual rates and 2e-4 for any.

const CUTOFF = 0.95687183; // Of half the lower rate, where the response is a half.
// How far a filter reaches to each side, in samples of the lower rate, and the shape of its window.
const FEW = { cutoff: CUTOFF, beta: 13.04, reach: 97.1 };
const STEEP = { cutoff: CUTOFF, beta: 13.711, reach: 102.25 };
const WIDE = { cutoff: 1.8174, beta: 14.0766, reach: 3.7547 };
const MOST_FEW = 4;
const MOST_KEPT = 1 << 22; // Weights of all phases that are kept; of more phases each is made anew.
const FINE = 2048; // Steps a sample of the table that filters are looked up in.

/** Modified Bessel function of order 0. */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** A filter at `t` samples of the lower rate. */
function kaiser({ cutoff, beta, reach }, t) {
  const within = 1 - (t / reach) ** 2;
  if (within <= 0) return 0;
  const angle = Math.PI * cutoff * t;
  const sinc = t === 0 ? 1 : Math.sin(angle) / angle;
  return (cutoff * sinc * bessel(beta * Math.sqrt(within))) / bessel(beta);
}

/** The whole filter between rates of which `up` samples come of `down`. */
function filterOf(up, down) {
  const [few, one] = [Math.max(up, down) <= MOST_FEW, Math.min(up, down) === 1];
  if (few || one) return (t) => kaiser(few ? FEW : STEEP, t);
  const steep = Float64Array.from({ length: Math.ceil(2 * STEEP.reach) + 1 }, (_, n) => kaiser(STEEP, n / 2) / 2);
  return (t) => {
    let sum = 0;
    for (let n = Math.ceil(2 * (t - WIDE.reach)); n <= 2 * (t + WIDE.reach); n++) {
      if (Math.abs(n) < steep.length) sum += steep[Math.abs(n)] * kaiser(WIDE, t - n / 2);
    }
    return sum;
  };
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}

/** A filter by a table, of which neighbours are interpolated; for `t` of 0 and more. */
function tabled(filter, reach) {
  const table = Float64Array.from({ length: Math.ceil(reach * FINE) + 2 }, (_, n) => filter(n / FINE));
  return (t) => {
    const at = t * FINE;
    const low = Math.floor(at);
    return low + 1 < table.length ? table[low] + (at - low) * (table[low + 1] - table[low]) : 0;
  };
}

/** Samples [n] at `from` Hz as `length` samples at `to` Hz. */
export function resampled(samples, from, to, length) {
  const out = new Float32Array(length);
  if (from === to) {
    out.set(samples.subarray(0, length));
    return out;
  }
  const common = divisor(from, to);
  const [up, down] = [to / common, from / common];
  const scale = Math.min(1, to / from);
  const reach = STEEP.reach + WIDE.reach;
  const half = Math.ceil(reach / scale) + 1;
  const many = up * 2 * half > MOST_KEPT;
  const weigh = tabled(filterOf(up, down), reach);
  const phases = new Map();

  /** Weights of the 2 x half samples around an output that lies `phase / up` behind a sample. */
  const weightsOf = (phase) => {
    const held = phases.get(phase);
    if (held) return held;
    const weights = new Float64Array(2 * half);
    for (let n = 0; n < weights.length; n++) {
      weights[n] = scale * weigh(Math.abs(phase / up - (n - half + 1)) * scale);
    }
    if (!many) phases.set(phase, weights);
    return weights;
  };
  // soxr ends at the sample nearest to the end of the sound.
  const end = Math.min(length, Math.floor((samples.length * to) / from + 0.5));
  for (let n = 0; n < end; n++) {
    const position = n * down;
    const whole = Math.floor(position / up);
    const weights = weightsOf(position - whole * up);
    const first = whole - half + 1;
    const start = Math.max(0, -first);
    const stop = Math.min(2 * half, samples.length - first);
    let sum = 0;
    for (let k = start; k < stop; k++) sum += weights[k] * samples[first + k];
    out[n] = sum;
  }
  return out;
}
