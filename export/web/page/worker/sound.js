// A sound on its way to the model: mean of the channels, level, windows. As runtime/audio and runtime/inference.

const FAINTEST = 1e-4; // A signed peak below this share of the absolute one is no level.
const LEAST_VARIANCE = 1e-7;

/** The mean of channels [C] of samples [n]. */
export function mono(channels) {
  if (channels.length === 1) return channels[0];
  const mean = new Float32Array(channels[0].length);
  for (let n = 0; n < mean.length; n++) {
    let sum = 0;
    for (const channel of channels) sum += channel[n];
    mean[n] = sum / channels.length;
  }
  return mean;
}

/** What the model's own pipeline divides a sound by; 1 for silence. */
export function levelOf(samples, how) {
  if (how === "none" || !samples.length) return 1;
  if (how === "unit_variance") {
    let [mean, squares] = [0, 0];
    for (const value of samples) mean += value;
    mean /= samples.length;
    for (const value of samples) squares += (value - mean) ** 2;
    return squares > 0 ? Math.sqrt(squares / samples.length + LEAST_VARIANCE) : 1;
  }
  let [peak, highest] = [0, -Infinity];
  for (const value of samples) {
    peak = Math.max(peak, Math.abs(value));
    highest = Math.max(highest, value);
  }
  if (how === "peak") return peak || 1;
  return highest > FAINTEST * peak ? highest : 1;
}

/** How a sound of so many samples is cut: the length of its windows, and where each begins. */
export function cut(samples, { length, hop, longest }) {
  const size = samples > length && samples <= longest ? samples : length;
  const last = Math.max(0, samples - size);
  const offsets = [];
  for (let at = 0; at < last; at += hop) offsets.push(at);
  offsets.push(last);
  return { size, offsets };
}

/** A window as the classifier takes it, [n], its level, and how much of it is sound. */
export function windowAt(samples, offset, size, window, divisor) {
  const part = samples.subarray(offset, offset + size);
  const level = divisor ?? levelOf(part, window.level);
  const wave = new Float32Array(Math.max(part.length, window.shortest));
  const by = Math.fround(level);
  for (let n = 0; n < part.length; n++) wave[n] = part[n] / by;
  return { wave, level, real: part.length };
}

/** What all windows are divided by; null where each has a level of its own. */
export function divisorOf(samples, window) {
  if (window.level_over === "none" || window.level === "none") return 1;
  if (window.level_over === "window" || samples.length <= window.longest) return null;
  return levelOf(samples, window.level);
}
