// Answers the page's questions in the browser itself: by a worker that has the model.

// A module with an instruction on vectors of 128 bits, without which onnxruntime-web does not run.
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);

/** What this browser lacks, in words; empty where it lacks nothing. */
function lack() {
  if (location.protocol === "file:") {
    return "This page needs a web server: browsers load none of its parts from a file on the disk. In its folder run python -m http.server, then open http://localhost:8000/.";
  }
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
    return "This browser has no WebAssembly with vectors (SIMD), which the model needs. Browsers since 2021 have it, unless it is switched off; or use earmark explain.";
  }
  if (typeof OfflineAudioContext !== "function" || typeof Worker !== "function") {
    return "This browser lacks Web Audio or workers, which the page needs. Use a newer one, or earmark explain.";
  }
  return "";
}

class BrowserModel {
  /** Starts the worker, which loads the model. */
  constructor() {
    this.worker = null;
    this.known = null; // The sound that the worker classified last: { blob, sound, played }.
    this.ready = this.start();
  }

  async start() {
    this.worker?.terminate();
    this.known = null;
    this.worker = new Worker("worker/worker.js", { type: "module" });
    const { facts } = await this.ask({ kind: "open" }, () => {});
    this.facts = facts;
  }

  /** Asks the worker one thing; its answer, or what went wrong there. */
  ask(message, tell) {
    const { worker } = this;
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => {
        if (data.kind === "progress") tell(data);
        else if (data.kind === "failed") reject(new Error(data.why));
        else resolve(data);
      };
      worker.onerror = (event) => reject(new Error(event.message ?? "a part of the page could not be loaded"));
      worker.postMessage(message);
    });
  }

  /** The item and row of a sound, as live.js asks for them. What is cancelled ends with its worker. */
  async explain(blob, name, { target }, signal, tell) {
    await this.ready;
    signal.throwIfAborted();
    const done = new AbortController();
    const cancelled = new Promise((_, reject) => {
      const end = () => {
        this.ready = this.start();
        reject(signal.reason);
      };
      signal.addEventListener("abort", end, { signal: done.signal });
    });
    try {
      return await Promise.race([this.answer(blob, name, target, signal, tell), cancelled]);
    } finally {
      done.abort();
    }
  }

  async answer(blob, name, target, signal, tell) {
    const { facts } = this;
    const wanted = target === null ? null : facts.labels.indexOf(target);
    const progress = ({ step, done, of }) => tell(`${step} window ${done} of ${of}`);
    let found;
    if (this.known?.blob === blob) {
      found = await this.ask({ kind: "target", target: wanted }, progress);
    } else {
      const sound = await soundOf(blob, name, facts.longest_seconds);
      signal.throwIfAborted();
      const play = playRate(sound.rate);
      this.known = null;
      found = await this.ask({ kind: "explain", channels: sound.channels, rate: sound.rate, play, target: wanted }, progress);
      this.known = { blob, sound, played: found.original, play };
    }
    const { sound, played, play } = this.known;
    const item = await itemOf(facts, sound, found, played, play);
    return { item, row: { file: name, start_s: 0, end_s: 0, time: "" } };
  }
}

/** Opens the model and lets the page begin. */
async function begin() {
  const waiting = document.getElementById("waiting");
  const lacking = lack();
  if (lacking) {
    waiting.replaceChildren(el("strong", {}, "This page cannot start. "), lacking);
    return;
  }
  const model = new BrowserModel();
  try {
    await model.ready;
  } catch (error) {
    waiting.textContent = `The model could not be loaded: ${error.message}`;
    return;
  }
  const { facts } = model;
  startLive({
    labels: facts.mask === "predicted" || !(facts.mask || facts.prototypes) ? [] : facts.labels,
    methods: [],
    values: facts.task === "regression",
    mostBytes: MOST_BYTES,
    about: `The model runs in this browser: no sound leaves this machine. It takes up to ${facts.longest_seconds / 60} minutes.`,
    example: facts.example && { name: facts.example, open: async () => (await fetchedPart(facts.example)).blob() },
    explain: (...asked) => model.explain(...asked),
  });
}

async function fetchedPart(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`The page's file ${path} could not be loaded (${response.status}).`);
  return response;
}

begin();
