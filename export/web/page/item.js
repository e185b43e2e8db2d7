// An answer as an item of the listening report: what runtime/report/gather.py makes in Python.

const SHOWN_LABELS = 6;
const SHOWN_MATCHES = 3;
const VIEWS = {
  square: "A spot in time and frequency (square)",
  time: "A moment, over all frequencies (time)",
  frequency: "A band, over all the time (frequency)",
  time_frequency: "A moment within a band (time_frequency)",
};
const NOTES = {
  gradient: "gradient x activation: this model's head is not linear, so no sum holds",
  localisation: "localisation only: this model's head is not additive over channels",
};

/** The rate at which a sound is played: its own where browsers can. */
const playRate = (rate) => Math.min(Math.max(rate, 8000), 96000);

/** The item of an answer about a sound; `original` is its mean at `rate` Hz, as it is played. */
async function itemOf(facts, sound, answer, original, rate) {
  const length = sound.channels[0].length / sound.rate;
  const ranked = answer.scores.map((score, k) => [facts.labels[k], score, k]).sort((a, b) => b[1] - a[1] || a[2] - b[2]);
  const clips = new Clips(playRate(facts.sample_rate));
  const views = [];
  const windowS = Math.min(length, facts.window.length / facts.sample_rate);
  for (const { name, matches } of answer.views ?? []) {
    views.push({ name: VIEWS[name], matches: await Promise.all(matches.slice(0, SHOWN_MATCHES).map((one) => matchOf(one, clips, windowS))) });
  }
  return {
    label: facts.labels[answer.target],
    score: answer.scores[answer.target],
    start_s: 0,
    seconds: length,
    summary: summaryOf(facts, answer, ranked),
    predictions: ranked.slice(0, SHOWN_LABELS).map(([label, score]) => [label, score]),
    warnings: warningsOf(facts, sound, answer, original),
    facts: runOf(facts, sound, answer),
    picture: { ...answer.picture, seconds: length, max_hz: facts.sample_rate / 2 },
    sounds: {
      rate, scale: 1, original: bufferOf(original, rate), kept: answer.mask ? bufferOf(answer.mask.kept, rate) : "",
    },
    segments: null,
    tracks: [],
    clips: clips.clips,
    views,
    contributions: contributionsOf(answer.contributions),
    contributions_note: noteOf(facts, answer),
    others: [],
    without: "",
  };
}

async function matchOf(match, clips, windowS) {
  const { clip, similarity, here, there, unlike } = match;
  const stretch = await clips.stretch(match, windowS);
  return { label: clip.labels.join(" + "), similarity, clip: clip.name, here, there, stretch, attribution: clip.attribution, unlike };
}

function summaryOf(facts, { target, scores, mask }, ranked) {
  const label = facts.labels[target];
  const [best, score] = ranked[0];
  const sentences = [];
  if (valued) sentences.push(`The model gives ${scoreText(scores[target])} for ${label}.`);
  else if (best === label) sentences.push(`The model says ${label}, with a score of ${scoreText(score)}.`);
  else sentences.push(`Explained is ${label}, with a score of ${scoreText(scores[target])}; the model says ${best}, ${scoreText(score)}.`);
  if (mask) {
    const where = mask.spans.slice(0, 3).map(([start, end]) => `${start.toFixed(2)} to ${end.toFixed(2)} s`).join(", ");
    const more = mask.spans.length > 3 ? ` and ${mask.spans.length - 3} more` : "";
    const at = where ? `at ${where}${more}, ` : "";
    sentences.push(`What it rests on lies ${at}between ${Math.round(mask.band[0])} and ${Math.round(mask.band[1])} Hz: ${Math.round(100 * mask.area)}% of the spectrogram.`);
  }
  return sentences;
}

function warningsOf(facts, { rate }, { mask, windows, target }, original) {
  const warnings = [];
  if (original.every((value) => value === 0)) warnings.push("The sound is silent: its scores say nothing about any sound.");
  if (rate < 0.99 * facts.sample_rate) {
    warnings.push(`The sound's rate is ${rate} Hz: it holds nothing above ${rate / 2} Hz, and the model listens up to ${facts.sample_rate / 2} Hz.`);
  }
  if (mask?.silenced) {
    warnings.push(`${mask.silenced} of ${windows} windows were not classified as ${facts.labels[target]}; their mask is empty: this decoder explains what is predicted.`);
  }
  return warnings;
}

function runOf(facts, { channels, rate, name }, { windows, milliseconds }) {
  const length = channels[0].length / rate;
  const many = channels.length === 1 ? "mono" : `${channels.length} channels, played as their mean`;
  return [
    ["Sound", `${name}: ${length.toFixed(3)} s, ${rate} Hz, ${many}`],
    ["Windows", String(windows)],
    ["Bundle", facts.name],
    ["Bundle ID", facts.bundle_id],
    ["Methods", [facts.mask && "mask", facts.prototypes && "prototypes"].filter(Boolean).join(", ") || "none: scores alone"],
    ["Device", `this browser: onnxruntime-web ${facts.onnxruntime}, WebAssembly`],
    ["Time", milliseconds < 10000 ? `${Math.round(milliseconds)} ms` : `${Math.round(milliseconds / 1000)} s`],
  ];
}

function contributionsOf(contributions) {
  if (!contributions) return [];
  const { rows, remainder, bias, others } = contributions;
  const shown = rows.filter(({ value }) => value !== null).map(({ channel, value, box }) => ({ name: `channel ${channel}`, value, box }));
  if (!shown.length || bias === null) return shown;
  return [...shown, { name: `${others} other channels`, value: remainder, box: null }, { name: "bias", value: bias, box: null }];
}

function noteOf(facts, { contributions, target }) {
  if (!contributions) return "";
  if (contributions.kind !== "additive") return NOTES[contributions.kind];
  return `They sum to the ${valued ? "value" : "logit"} of ${facts.labels[target]}, ${contributions.logit.toFixed(2)}.`;
}
