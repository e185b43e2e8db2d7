// Explains a sound by the graph that `earmark export BUNDLE --fused model.onnx` wrote.
//
//   npm install --ignore-scripts   (the script of onnxruntime-node only fetches CUDA)
//   node explain.js model.onnx sound.wav [kept.wav]
//
// The sound is a WAV of 16-bit or float samples at the model's rate; its channels are averaged.

const fs = require("fs");
const ort = require("onnxruntime-node");

/** The samples of a WAV, mono, and its rate. */
function readWav(path) {
  const file = fs.readFileSync(path);
  if (file.toString("latin1", 0, 4) !== "RIFF") throw new Error(`${path}: is no WAV`);
  let format;
  for (let at = 12; at + 8 <= file.length; ) {
    const kind = file.toString("latin1", at, at + 4);
    const size = file.readUInt32LE(at + 4);
    const start = at + 8;
    if (kind === "fmt ") {
      format = {
        float: file.readUInt16LE(start) === 3,
        channels: file.readUInt16LE(start + 2),
        rate: file.readUInt32LE(start + 4),
        bytes: file.readUInt16LE(start + 14) / 8,
      };
    } else if (kind === "data") {
      const { float, channels, rate, bytes } = format;
      if (bytes !== (float ? 4 : 2)) throw new Error(`${path}: give 16-bit or 32-bit float samples`);
      const count = Math.floor(Math.min(size, file.length - start) / (bytes * channels));
      const samples = new Float32Array(count);
      for (let i = 0; i < count; i++) {
        let sum = 0;
        for (let c = 0; c < channels; c++) {
          const place = start + (i * channels + c) * bytes;
          sum += float ? file.readFloatLE(place) : file.readInt16LE(place) / 32768;
        }
        samples[i] = sum / channels;
      }
      return { samples, rate };
    }
    at = start + size + (size % 2);
  }
  throw new Error(`${path}: has no samples`);
}

/** The metadata of a model: what is written at its outermost level (ModelProto.metadata_props, field 14). */
function metadata(path) {
  const facts = {};
  fields(fs.readFileSync(path), (number, content) => {
    if (number !== 14) return;
    const entry = {};
    fields(content, (part, text) => (entry[part] = text.toString("utf8")));
    facts[entry[1]] = entry[2] ?? "";
  });
  return facts;
}

/** Calls see(number, content) for each field of a protobuf message that has a length. */
function fields(message, see) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else {
      const size = varint();
      see(Math.floor(key / 8), message.subarray(at, at + size));
      at += size;
    }
  }
}

/** Writes mono float samples as a WAV. */
function writeWav(path, samples, rate) {
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + 4 * samples.length, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(3, 20); // float
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(4 * rate, 28);
  head.writeUInt16LE(4, 32);
  head.writeUInt16LE(32, 34);
  head.write("data", 36);
  head.writeUInt32LE(4 * samples.length, 40);
  const body = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
  fs.writeFileSync(path, Buffer.concat([head, body]));
}

/** Prints the answers of the graph as JSON. */
async function main([model, sound, kept]) {
  if (!sound) throw new Error("usage: node explain.js MODEL.onnx SOUND.wav [KEPT.wav]");
  const facts = metadata(model);
  const { samples, rate } = readWav(sound);
  if (rate !== Number(facts.sample_rate)) {
    throw new Error(`${sound}: has ${rate} Hz, the model takes ${facts.sample_rate}`);
  }
  const session = await ort.InferenceSession.create(model);
  const waveform = new ort.Tensor("float32", samples, [1, samples.length]);
  const answers = await session.run({ waveform });
  const scores = Array.from(answers.scores.data);
  const document = {
    scores: Object.fromEntries(JSON.parse(facts.labels).map((label, index) => [label, scores[index]])),
    logits: Array.from(answers.logits.data),
  };
  if (answers.mask) {
    document.mask_dims = answers.mask.dims;
    document.mask_mean = answers.mask.data.reduce((sum, one) => sum + one, 0) / answers.mask.data.length;
  }
  if (answers.kept && kept) writeWav(kept, answers.kept.data, rate);
  console.log(JSON.stringify(document));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
