// The page's graphs on onnxruntime-web: WebAssembly, one thread, which any web server can hand out.

import * as ort from "../ort/ort.wasm.min.js";

const here = (path) => new URL(path, import.meta.url).href;

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {
  mjs: here("../ort/ort-wasm-simd-threaded.js"),
  wasm: here("../ort/ort-wasm-simd-threaded.wasm"),
};

/** A file of the page; what is missing is named. */
export async function fetched(path) {
  const response = await fetch(here(`../${path}`));
  if (!response.ok) throw new Error(`The page's file ${path} could not be loaded (${response.status} ${response.statusText}).`);
  return response;
}

async function session({ file, data }) {
  const bytes = async (name) => new Uint8Array(await (await fetched(`model/${name}`)).arrayBuffer());
  const externalData = await Promise.all(data.map(async (name) => ({ path: name, data: await bytes(name) })));
  return ort.InferenceSession.create(await bytes(file), { executionProviders: ["wasm"], externalData });
}

export class Model {
  static async open(facts) {
    const model = new Model();
    model.facts = facts;
    model.classifying = await session(facts.classify);
    model.explaining = facts.explain ? await session(facts.explain) : null;
    return model;
  }

  /** A window [n] at the model's level -> tensors by name: logits, the listenable STFT, taps. */
  async classify(wave) {
    return this.classifying.run({ waveform: new ort.Tensor("float32", wave, [1, wave.length]) });
  }

  /** A classified window and a target -> tensors by name: mask, kept, embeddings, contributions. */
  async explain(tensors, target, samples) {
    const feeds = Object.fromEntries(this.facts.between.map((name) => [name, tensors[name]]));
    const whole = (value) => new ort.Tensor("int64", BigInt64Array.of(BigInt(value)), [1]);
    const names = this.explaining.inputNames;
    if (names.includes("target")) feeds.target = whole(target);
    if (names.includes("samples")) feeds.samples = whole(samples);
    return this.explaining.run(feeds);
  }
}
