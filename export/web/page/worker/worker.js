// Explains sound off the page's thread, so that the page answers while it is done.
//
// Takes { kind: "open" }, { kind: "explain", channels, rate, play, target }, { kind: "target", target }, one at a time;
// answers "opened" or "explained", or "failed", and tells "progress" before.

import { Classified, explain } from "./explaining.js";
import { resampled } from "./resampling.js";
import { Model, fetched } from "./runtime.js";
import { Prototypes } from "./search.js";
import { largest } from "./joining.js";
import { mono } from "./sound.js";

let model = null;
let prototypes = null;
let current = null; // The sound that was classified last, and how it is played.

async function open() {
  const facts = await (await fetched("model/model.json")).json();
  [model, prototypes] = await Promise.all([Model.open(facts), facts.prototypes ? Prototypes.open(facts.prototypes) : null]);
  return { kind: "opened", facts };
}

function progress(step) {
  let last = 0;
  return (done, of) => {
    if (performance.now() - last < 100) return;
    last = performance.now();
    postMessage({ kind: "progress", step, done, of });
  };
}

/** Explains a sound; `play` is the rate at which it will be played, target null the best label. */
async function explainSound({ channels, rate, play, target }) {
  const begun = performance.now();
  const classified = await Classified.of(model, channels, rate, progress("Classifying"));
  current = { classified, play, length: Math.ceil((channels[0].length * play) / rate) };
  const answer = await explainTarget({ target }, begun);
  return { ...answer, original: resampled(mono(channels), rate, play, current.length) };
}

/** Explains the sound that was classified last. */
async function explainTarget({ target }, begun = performance.now()) {
  const { classified, play, length } = current;
  const answer = await explain(classified, prototypes, target ?? largest(classified.scores), progress("Explaining"));
  if (answer.mask) answer.mask.kept = resampled(answer.mask.kept, model.facts.sample_rate, play, length);
  return {
    kind: "explained", scores: classified.scores, windows: classified.offsets.length,
    milliseconds: performance.now() - begun, ...answer,
  };
}

const TASKS = { open, explain: explainSound, target: explainTarget };

onmessage = async ({ data }) => {
  try {
    postMessage(await TASKS[data.kind](data));
  } catch (error) {
    postMessage({ kind: "failed", why: String(error?.message ?? error) });
  }
};
