// Resampling with the filter of soxr's "HQ", which the Python runtime uses: a sinc under a Kaiser window.
//
// Its three numbers were fitted to soxr's impulse response: the largest difference is 3e-7 of its peak
// (tests/web/test_resampling_filter.py). They count in samples of the lower of the two rates.

const CUTOFF = 0.95687182; // Of half the lower rate; where the response is a half.
const BETA = 13.71114808;
const REACH = 102.12479503; // Samples to each side.
const MOST_KEPT = 1 << 22; // Weights of all phases that are kept; of more phases each is looked up in a table.
const FINE = 2048; // Steps of that table a sample.

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

const PEAK = bessel(BETA);

/** The filter at `t` samples of the lower rate. */
function filter(t) {
  const within = 1 - (t / REACH) ** 2;
  if (within <= 0) return 0;
  const angle = Math.PI * CUTOFF * t;
  const sinc = t === 0 ? 1 : Math.sin(angle) / angle;
  return (CUTOFF * sinc * bessel(BETA * Math.sqrt(within))) / PEAK;
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}

/** The filter by a table, of which neighbours are interpolated; for `t` of 0 and more. */
function tabled() {
  const table = Float64Array.from({ length: Math.ceil(REACH * FINE) + 2 }, (_, n) => filter(n / FINE));
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
  const half = Math.ceil(REACH / scale) + 1;
  const many = up * 2 * half > MOST_KEPT;
  const weigh = many ? tabled() : filter;
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
