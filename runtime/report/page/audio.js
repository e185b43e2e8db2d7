"use strict";

// Sound: decoding, loudness, and a transport that plays several voices in step.

/** A base64 text as bytes. */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** A FLAC in base64 as an AudioBuffer, at its own rate where browsers take it; what is one already stays. */
async function decoded(text, rate) {
  if (text instanceof AudioBuffer) return text;
  const context = new OfflineAudioContext(1, 1, Math.min(Math.max(rate, 8000), 96000));
  return context.decodeAudioData(bytesOf(text).buffer);
}

/** `one` minus the sum of `others`, as an AudioBuffer. */
function difference(one, others) {
  const buffer = new AudioBuffer({ length: one.length, numberOfChannels: 1, sampleRate: one.sampleRate });
  const out = buffer.getChannelData(0);
  out.set(one.getChannelData(0));
  for (const other of others) {
    const values = other.getChannelData(0);
    const count = Math.min(out.length, values.length);
    for (let at = 0; at < count; at++) out[at] -= values[at];
  }
  return buffer;
}

const LOUDNESS = 0.1; // Root mean square of what is levelled: -20 dB of full scale.
const MOST_PEAK = 0.98;
const MOST_GAIN = 1000; // Silence stays silent.

/** The gain that brings a buffer to a common loudness: blocks of 0.1 s within 40 dB of the loudest count. */
function levelled(buffer) {
  const values = buffer.getChannelData(0);
  const size = Math.max(1, Math.round(buffer.sampleRate / 10));
  const powers = [];
  let peak = 0;
  for (let start = 0; start < values.length; start += size) {
    const end = Math.min(start + size, values.length);
    let sum = 0;
    for (let at = start; at < end; at++) {
      sum += values[at] * values[at];
      peak = Math.max(peak, Math.abs(values[at]));
    }
    powers.push(sum / (end - start));
  }
  const most = Math.max(...powers, 0);
  const loud = powers.filter((power) => power >= most * 1e-4);
  const power = loud.reduce((sum, one) => sum + one, 0) / Math.max(1, loud.length);
  if (!(power > 1e-12)) return 1;
  return Math.min(LOUDNESS / Math.sqrt(power), MOST_PEAK / peak, MOST_GAIN);
}

let liveContext = null;
let sounding = null; // The one transport that plays.

/** The audio context, made when somebody first plays: browsers allow it then. */
function live() {
  if (liveContext === null) liveContext = new AudioContext();
  if (liveContext.state === "suspended") liveContext.resume();
  return liveContext;
}

/** Plays voices (name -> {buffer, gain}) in step; which of them are heard can change without losing the place. */
class Transport {
  constructor(voices, seconds, changed) {
    this.voices = voices;
    this.seconds = seconds;
    this.changed = changed;
    this.shares = new Map(); // Voice -> 0..1.
    this.loop = null; // [start, end] in seconds.
    this.playing = false;
    this.from = 0;
    this.startedAt = 0;
    this.nodes = new Map();
  }

  /** Seconds from the begin. */
  get time() {
    if (!this.playing) return this.from;
    // What plays begins a moment after it was asked for.
    let at = this.from + Math.max(0, live().currentTime - this.startedAt);
    if (this.loop && at >= this.loop[1]) at = this.loop[0] + ((at - this.loop[0]) % (this.loop[1] - this.loop[0]));
    return Math.min(at, this.seconds);
  }

  /** Nodes of all voices in a context, started at `when` from `from` on. */
  build(context, destination, when, from) {
    const nodes = new Map();
    for (const [name, voice] of this.voices) {
      const source = new AudioBufferSourceNode(context, { buffer: voice.buffer });
      const gain = new GainNode(context, { gain: this.gainOf(name) });
      if (this.loop) {
        source.loop = true;
        [source.loopStart, source.loopEnd] = this.loop;
      }
      source.connect(gain).connect(destination);
      source.start(when, from);
      nodes.set(name, { source, gain });
    }
    return nodes;
  }

  gainOf(name) {
    return (this.shares.get(name) ?? 0) * this.voices.get(name).gain;
  }

  play() {
    if (this.playing) return;
    if (sounding && sounding !== this) sounding.pause();
    sounding = this;
    const context = live();
    if (this.loop && (this.from < this.loop[0] || this.from >= this.loop[1])) this.from = this.loop[0];
    if (this.from >= this.seconds - 0.005) this.from = 0;
    this.startedAt = context.currentTime + 0.02;
    this.nodes = this.build(context, context.destination, this.startedAt, this.from);
    this.playing = true;
    const nodes = this.nodes;
    const first = [...nodes.values()][0];
    if (first) first.source.onended = () => this.nodes === nodes && this.ended();
    this.changed();
  }

  ended() {
    this.playing = false;
    this.from = 0;
    this.nodes = new Map();
    this.changed();
  }

  pause() {
    if (!this.playing) return;
    this.from = Math.max(0, this.time);
    this.playing = false;
    for (const { source } of this.nodes.values()) {
      source.onended = null;
      source.stop();
    }
    this.nodes = new Map();
    this.changed();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Changes what needs new nodes, and goes on. */
  again(change) {
    const playing = this.playing;
    this.pause();
    change();
    if (playing) this.play();
    else this.changed();
  }

  seek(at) {
    this.again(() => {
      this.from = Math.min(Math.max(0, at), this.seconds);
    });
  }

  setLoop(loop) {
    this.again(() => {
      this.loop = loop;
    });
  }

  /** Sets which voices are heard, name -> 0..1; the others are silent. */
  hear(shares) {
    this.shares = new Map(shares);
    for (const [name, { gain }] of this.nodes) {
      gain.gain.setTargetAtTime(this.gainOf(name), live().currentTime, 0.008);
    }
  }

  setGains(gains) {
    for (const [name, gain] of gains) this.voices.get(name).gain = gain;
    this.hear(this.shares);
  }

  /** What would be heard, as samples: of the selection, else of everything. */
  async render() {
    const [start, end] = this.loop ?? [0, this.seconds];
    const rate = [...this.voices.values()][0].buffer.sampleRate;
    const context = new OfflineAudioContext(1, Math.max(1, Math.round((end - start) * rate)), rate);
    this.build(context, context.destination, 0, start);
    return context.startRendering();
  }
}

/** An AudioBuffer as a WAV of 16 bits. */
function wavOf(buffer) {
  const values = buffer.getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + 2 * values.length));
  const text = (at, letters) => [...letters].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * values.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, buffer.sampleRate, true);
  view.setUint32(28, 2 * buffer.sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * values.length, true);
  values.forEach((value, at) => {
    view.setInt16(44 + 2 * at, Math.round(32767 * Math.min(1, Math.max(-1, value))), true);
  });
  return new Blob([view], { type: "audio/wav" });
}
