// Explains sound off the page's thread, so that the page answers while it is done.
//
// Takes { kind: "open" }, { kind: "explain", id, channels, rate, play }, { kind: "target", id, target }; answers with
// the same id: "opened", "progress", "explained" or "failed".

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

function progress(id, step) {
  let last = 0;
  return (done, of) => {
    if (performance.now() - last < 100) return;
    last = performance.now();
    postMessage({ kind: "progress", id, step, done, of });
  };
}

/** Explains a sound for the best label; `play` is the rate at which it will be played. */
async function explainSound({ id, channels, rate, play }) {
  const begun = performance.now();
  const classified = await Classified.of(model, channels, rate, progress(id, "Classifying"));
  const length = Math.ceil((channels[0].length * play) / rate);
  current = { classified, play, length };
  const answer = await explainTarget({ id, target: largest(classified.scores) }, begun);
  return { ...answer, original: resampled(mono(channels), rate, play, length) };
}

async function explainTarget({ id, target }, begun = performance.now()) {
  const { classified, play, length } = current;
  const answer = await explain(classified, prototypes, target, progress(id, "Explaining"));
  if (answer.mask) answer.mask.kept = resampled(answer.mask.kept, model.facts.sample_rate, play, length);
  return { kind: "explained", id, scores: classified.scores, windows: classified.offsets.length, milliseconds: performance.now() - begun, ...answer };
}

const TASKS = { open, explain: explainSound, target: explainTarget };

onmessage = async ({ data }) => {
  try {
    postMessage(await TASKS[data.kind](data));
  } catch (error) {
    postMessage({ kind: "failed", id: data.id, why: String(error?.message ?? error) });
  }
};
