// Elements, colours, and spectrograms on canvas.

/** An element with attributes, properties (functions are event listeners) and children (texts are texts). */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function table(steps) {
  const colours = new Uint8ClampedArray(256 * 3);
  for (let level = 0; level < 256; level++) {
    const at = (level / 255) * (steps.length - 1);
    const low = Math.min(Math.floor(at), steps.length - 2);
    for (let part = 0; part < 3; part++) {
      colours[3 * level + part] = steps[low][part] + (at - low) * (steps[low + 1][part] - steps[low][part]);
    }
  }
  return colours;
}

// Blue to yellow by way of grey, or white to dark blue: lightness alone tells the levels apart, so that no kind of
// colour vision is needed, and a print in grey is read alike.
const DARK = {
  colours: table([[6, 10, 26], [14, 32, 80], [56, 72, 108], [102, 108, 118], [150, 144, 118], [204, 184, 98], [255, 236, 110]]),
  line: [255, 255, 255],
  ink: "#e8ebf0",
  faint: "#a3acbb",
  mark: "#ffd27a",
};
const LIGHT = {
  colours: table([[255, 255, 255], [226, 229, 232], [188, 195, 205], [142, 152, 172], [94, 108, 142], [50, 64, 108], [10, 18, 56]]),
  line: [160, 60, 0],
  ink: "#1c2430",
  faint: "#5b6675",
  mark: "#a03c00",
};
let printing = false;

function colourScheme() {
  return document.documentElement.dataset.theme === "dark" && !printing ? DARK : LIGHT;
}

/** A greyscale PNG in base64 as {width, height, values}, the highest frequency first; what is that already stays. */
async function pixelsOf(text) {
  if (typeof text !== "string") return text;
  const image = new Image();
  image.src = `data:image/png;base64,${text}`;
  await image.decode();
  const canvas = el("canvas", { width: image.width, height: image.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const rgba = context.getImageData(0, 0, image.width, image.height).data;
  const values = new Uint8Array(image.width * image.height);
  for (let at = 0; at < values.length; at++) values[at] = rgba[4 * at];
  return { width: image.width, height: image.height, values };
}

const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
const hzOfMel = (m) => 700 * (10 ** (m / 2595) - 1);

/** Share 0..1 of the height at which a frequency lies. */
function heightOf(hz, maxHz, scale) {
  return scale === "mel" ? mel(hz) / mel(maxHz) : hz / maxHz;
}

/** A spectrogram as a canvas of its own size, dimmed where the mask is low by `strength`, 0..1; and its mask. */
function coloured(loudness, mask, maxHz, scale, strength) {
  const { width, height } = loudness;
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const { colours } = colourScheme();
  const levels = new Uint8Array(width * height);
  const kept = mask ? new Uint8Array(width * height) : null;
  for (let y = 0; y < height; y++) {
    const share = 1 - (y + 0.5) / height;
    const hz = scale === "mel" ? hzOfMel(share * mel(maxHz)) : share * maxHz;
    const row = Math.min(height - 1, Math.max(0, Math.round((1 - hz / maxHz) * height - 0.5)));
    levels.set(loudness.values.subarray(row * width, (row + 1) * width), y * width);
    if (kept) kept.set(mask.values.subarray(row * width, (row + 1) * width), y * width);
  }
  for (let at = 0; at < levels.length; at++) {
    const dimmed = kept ? 0.93 * strength * (1 - kept[at] / 255) : 0;
    for (let part = 0; part < 3; part++) {
      const colour = colours[3 * levels[at] + part];
      image.data[4 * at + part] = colour * (1 - dimmed) + colours[part] * dimmed;
    }
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return { canvas, kept: kept && strength > 0 ? grey(blurred(kept, width, height), width, height) : null };
}

/** Values 0..255 as a grey canvas. */
function grey(values, width, height) {
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  values.forEach((value, at) => image.data.set([value, value, value, 255], 4 * at));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Means over 5 x 5 cells: an outline of single cells would be a pattern, not a shape. */
function blurred(values, width, height) {
  const across = new Float32Array(values.length);
  const out = new Float32Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const x = at % width;
    for (let by = -2; by <= 2; by++) across[at] += values[at - x + Math.min(width - 1, Math.max(0, x + by))] / 5;
  }
  for (let at = 0; at < values.length; at++) {
    const y = Math.floor(at / width);
    for (let by = -2; by <= 2; by++) out[at] += across[(at % width) + width * Math.min(height - 1, Math.max(0, y + by))] / 5;
  }
  return out;
}

const INSIDE = 0.4 * 255;

/** The line around what a grey canvas holds, on a canvas of another size. */
function outline(kept, width, height, strength) {
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(kept, 0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  const values = new Uint8Array(width * height);
  for (let at = 0; at < values.length; at++) values[at] = image.data[4 * at];
  const { line } = colourScheme();
  for (let at = 0; at < values.length; at++) {
    const x = at % width;
    const edge = values[at] >= INSIDE && (
      (x > 0 && values[at - 1] < INSIDE) || (x < width - 1 && values[at + 1] < INSIDE) ||
      values[at - width] < INSIDE || values[at + width] < INSIDE);
    image.data.set([...line, edge ? 255 * strength : 0], 4 * at);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The smallest round step that marks a span at most `most` times. */
function roundStep(span, most) {
  const scale = 10 ** Math.floor(Math.log10(span / most));
  return [1, 2, 5, 10].map((factor) => factor * scale).find((step) => span / step <= most * 1.0001) ?? 10 * scale;
}

function seconds(at, digits = 2) {
  if (at < 120) return `${at.toFixed(digits)} s`;
  const whole = Math.floor(at);
  const rest = (at - Math.floor(at / 60) * 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  if (whole < 3600) return `${Math.floor(at / 60)}:${rest}`;
  return `${Math.floor(whole / 3600)}:${String(Math.floor(whole / 60) % 60).padStart(2, "0")}:${rest}`;
}

const hertz = (value) => (value >= 10000 ? `${(value / 1000).toFixed(1)} kHz` : `${Math.round(value)} Hz`);
let valued = false; // Whether scores are values of a regression, and no shares; a page says so at its start.

/** A score as a percentage; of a regression the value with four digits. */
const scoreText = (score) => (valued ? String(Number(score.toPrecision(4))) : `${(100 * score).toFixed(1)}%`);

const MARGIN = { left: 46, right: 10, top: 8, bottom: 26 };

/** Makes a canvas fit its place on the screen; gives its context in CSS pixels, and its size. */
function fit(canvas, height) {
  const width = Math.max(40, canvas.clientWidth);
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** A spectrogram in an element: axes in Hz and seconds, a mask, boxes. */
class Picture {
  constructor(source, { startS = 0, height = 300, axes = true, label = "Spectrogram" } = {}) {
    this.source = source;
    this.startS = startS;
    this.height = height;
    this.margin = axes ? MARGIN : { left: 0, right: 0, top: 0, bottom: 0 };
    this.axes = axes;
    this.scale = "linear";
    this.strength = 0.8;
    this.boxes = [];
    this.canvas = el("canvas", { role: "img", "aria-label": label, class: "spectrogram" });
    this.canvas.style.height = `${height}px`;
    this.image = null;
  }

  async load() {
    this.loudness = await pixelsOf(this.source.loudness);
    this.mask = this.source.mask ? await pixelsOf(this.source.mask) : null;
    this.recolour();
  }

  recolour() {
    if (!this.loudness) return;
    const { canvas, kept } = coloured(this.loudness, this.mask, this.source.max_hz, this.scale, this.strength);
    [this.image, this.kept] = [canvas, kept];
    this.draw();
  }

  /** Where seconds lie, in CSS pixels from the left of the canvas. */
  x(at) {
    const inner = this.canvas.clientWidth - this.margin.left - this.margin.right;
    return this.margin.left + (at / this.source.seconds) * inner;
  }

  timeAt(x) {
    const inner = this.canvas.clientWidth - this.margin.left - this.margin.right;
    return Math.min(Math.max(0, (x - this.margin.left) / inner), 1) * this.source.seconds;
  }

  y(hz) {
    const inner = this.height - this.margin.top - this.margin.bottom;
    return this.margin.top + inner * (1 - Math.min(1, heightOf(hz, this.source.max_hz, this.scale)));
  }

  draw() {
    if (!this.image || !this.canvas.clientWidth) return;
    const { context, width, height } = fit(this.canvas, this.height);
    const { left, right, top, bottom } = this.margin;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, left, top, width - left - right, height - top - bottom);
    if (this.kept) {
      const [across, up] = [width - left - right, height - top - bottom];
      const ratio = this.canvas.width / width;
      const line = outline(this.kept, Math.round(across * ratio), Math.round(up * ratio), this.strength);
      context.drawImage(line, left, top, across, up);
    }
    if (this.axes) this.drawAxes(context, width, height);
    for (const box of this.boxes) this.drawBox(context, box);
  }

  drawBox(context, [start, end, low, high]) {
    const [x0, x1, y0, y1] = [this.x(start), this.x(end), this.y(high), this.y(low)];
    for (const [width, colour] of [[4, "#000000"], [2, "#ffffff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.strokeRect(x0 + 1, y0 + 1, Math.max(2, x1 - x0 - 2), Math.max(2, y1 - y0 - 2));
    }
  }

  drawAxes(context, width, height) {
    const { ink, faint } = colourScheme();
    const { left, right, bottom } = this.margin;
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = ink;
    context.strokeStyle = faint;
    context.lineWidth = 1;
    const kilo = this.source.max_hz >= 2000;
    context.textAlign = "right";
    context.textBaseline = "middle";
    let last = Infinity;
    for (const hz of this.frequencies()) {
      const y = this.y(hz);
      if (last - y < 15) continue;
      last = y;
      line(context, left - 4, y, left, y);
      context.fillText(kilo ? `${+(hz / 1000).toPrecision(3)}` : `${hz}`, left - 7, Math.min(Math.max(y, 8), height - bottom));
    }
    context.save();
    context.translate(10, (height - bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillStyle = faint;
    context.fillText(kilo ? "kHz" : "Hz", 0, 0);
    context.restore();
    context.textBaseline = "top";
    context.textAlign = "center";
    const step = roundStep(this.source.seconds, Math.max(2, Math.floor((width - left - right) / 90)));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let n = Math.ceil(this.startS / step - 1e-6); n * step <= this.startS + this.source.seconds + 1e-9; n++) {
      const x = this.x(n * step - this.startS);
      line(context, x, height - bottom, x, height - bottom + 4);
      context.fillStyle = ink;
      context.fillText(seconds(n * step, digits), Math.min(Math.max(x, left + 14), width - 22), height - bottom + 7);
    }
  }

  frequencies() {
    const most = this.source.max_hz;
    if (this.scale === "mel") {
      return [0, 100, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000].filter((hz) => hz <= most);
    }
    const step = roundStep(most, 8);
    return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, n) => n * step);
  }
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
