// One explained sound: its spectrogram, the players in step with it, the strip of segments, the tabs below.

const VOICES = [
  ["original", "Original", "1"],
  ["kept", "Kept", "2"],
  ["removed", "Removed", "3"],
  ["mixer", "Mixer", "4"],
];

class ItemView {
  constructor(item, row, datalist) {
    this.item = item;
    this.row = row;
    this.selection = null;
    this.picture = null;
    this.transport = null;
    this.smaller = [];
    this.voice = "original";
    this.muted = new Set();
    this.solo = new Set();
    this.stopped = false;
    this.root = el("article", { class: "item", "aria-labelledby": "item-title" });
    this.root.append(this.head(datalist));
  }

  /** Draws everything; decoding sound comes last, so that there is something to see at once. */
  async open() {
    const { item } = this;
    if (item.picture) await this.addPicture();
    if (item.without) this.root.append(el("p", { class: "notice" }, `Nothing to listen to: ${item.without}.`));
    if (item.sounds) this.addPlayer();
    this.root.append(new Parts(this).root);
    this.redraw();
    if (item.sounds) await this.loadSound();
    this.root.dataset.ready = "true";
  }

  close() {
    this.stopped = true;
    this.transport?.pause();
    if (sounding) sounding.pause();
    this.root.remove();
  }

  head(datalist) {
    const { item, row } = this;
    const where = row.end_s > 0 ? `, ${seconds(row.start_s)} to ${seconds(row.end_s)}` : "";
    const bars = item.predictions.map(([label, score]) =>
      el("li", { class: label === item.label ? "told" : "" },
        el("span", { class: "name" }, label), valued ? null : share(score), el("span", { class: "number" }, scoreText(score))));
    return el("div", { class: "head" },
      el("div", {},
        el("h2", { id: "item-title" }, item.label, " ", el("span", { class: "score" }, scoreText(item.score))),
        el("p", { class: "file" }, row.file + where + (row.time ? `, ${row.time}` : "")),
        ...item.summary.map((sentence) => el("p", {}, sentence)),
        item.warnings.length
          ? el("div", { class: "warnings", role: "note" },
              el("h3", {}, "Before you believe it"),
              el("ul", {}, ...item.warnings.map((warning) => el("li", {}, warning))))
          : null,
        datalist ? decisionControls(row, datalist) : null),
      el("div", {}, el("h3", {}, valued ? "Values" : "Scores"), el("ol", { class: "scores" }, ...bars)));
  }

  async addPicture() {
    const { item } = this;
    const what = item.picture.mask ? "Spectrogram; what is kept is bright and outlined" : "Spectrogram";
    this.picture = new Picture(item.picture, { startS: item.start_s, label: `${what}. ${item.summary.join(" ")}` });
    this.cursor = el("div", { class: "cursor", hidden: true });
    this.chosen = el("div", { class: "chosen", hidden: true });
    this.stage = el("div", { class: "stage" }, this.picture.canvas, this.chosen, this.cursor);
    const strength = el("input", {
      type: "range", id: "strength", min: "0", max: "100", value: "80",
      input: () => {
        this.picture.strength = Number(strength.value) / 100;
        this.picture.recolour();
      },
    });
    const scale = el("select", {
      id: "scale",
      change: () => {
        this.picture.scale = scale.value;
        this.picture.recolour();
      },
    }, el("option", { value: "linear" }, "linear"), el("option", { value: "mel" }, "mel"));
    this.root.append(
      el("div", { class: "bar" },
        item.picture.mask ? el("label", {}, "Show what is kept ", strength) : null,
        el("label", {}, "Frequency ", scale),
        el("span", { class: "hint" }, item.sounds ? "Drag over the picture to select what is looped." : "")),
      this.stage);
    if (item.segments?.axis === "time") {
      this.strip = el("canvas", { class: "strip", role: "img", "aria-label": "Importance of the segments over time; the table below has the numbers" });
      this.stage.append(this.strip);
    }
    this.pointers();
    await this.picture.load();
  }

  /** A drag over the picture selects, a click seeks. */
  pointers() {
    const canvas = this.picture.canvas;
    let begin = null;
    const at = (event) => this.picture.timeAt(event.clientX - canvas.getBoundingClientRect().left);
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.transport) return;
      begin = at(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (begin !== null && Math.abs(at(event) - begin) > this.item.seconds / 200) {
        this.mark([Math.min(begin, at(event)), Math.max(begin, at(event))]);
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      if (begin === null) return;
      const end = at(event);
      if (Math.abs(end - begin) > this.item.seconds / 200) this.select([Math.min(begin, end), Math.max(begin, end)]);
      else this.transport.seek(end);
      begin = null;
    });
  }

  addPlayer() {
    this.playButton = el("button", { type: "button", class: "play", disabled: true, click: () => this.transport.toggle() }, "Play");
    const has = (name) =>
      name === "original" || (name === "mixer" ? this.item.tracks.length > 0 : Boolean(this.item.sounds.kept));
    this.radios = new Map();
    const group = el("fieldset", { class: "voices" }, el("legend", {}, "Listen to"));
    for (const [name, title, key] of VOICES.filter(([name]) => has(name))) {
      const radio = el("input", {
        type: "radio", name: "voice", value: name, disabled: true, change: () => this.listenTo(name),
      });
      radio.checked = name === "original";
      this.radios.set(name, radio);
      group.append(el("label", {}, radio, ` ${title} `, el("kbd", {}, key)));
    }
    this.position = el("input", {
      type: "range", class: "position", min: "0", max: String(this.item.seconds), step: "0.001", value: "0",
      "aria-label": "Position", disabled: true, input: () => this.transport.seek(Number(this.position.value)),
    });
    this.clock = el("output", { class: "clock" }, seconds(this.item.start_s));
    this.level = el("input", { type: "checkbox", id: "level", checked: true, change: () => this.setGains() });
    this.clear = el("button", { type: "button", disabled: true, click: () => this.select(null) }, "Clear selection");
    this.root.append(
      el("div", { class: "bar player", role: "group", "aria-label": "Player" },
        this.playButton, group, this.position, this.clock),
      el("div", { class: "bar" },
        el("label", {}, this.level, " Same loudness"), this.clear,
        el("button", { type: "button", click: () => this.save() }, "Save as WAV"),
        el("span", { class: "hint" }, "Space plays, 1 to 4 switch, arrows seek, [ and ] mark a selection, Esc clears it.")));
  }

  async loadSound() {
    const { sounds, tracks } = this.item;
    const original = await decoded(sounds.original, sounds.rate);
    const buffers = new Map([["original", original]]);
    if (sounds.kept) {
      const kept = await decoded(sounds.kept, sounds.rate);
      buffers.set("kept", kept).set("removed", difference(original, [kept]));
    }
    const parts = [];
    for (const [number, track] of tracks.entries()) {
      parts.push(await decoded(track.sound, sounds.rate));
      buffers.set(`track-${number}`, parts[number]);
    }
    if (parts.length) buffers.set("rest", difference(original, parts));
    if (this.stopped) return;
    const voices = new Map([...buffers].map(([name, buffer]) => [name, { buffer, gain: 1 }]));
    this.transport = new Transport(voices, original.duration, () => this.changed());
    this.setGains();
    this.listenTo("original");
    for (const control of [this.playButton, this.position, ...this.radios.values()]) control.disabled = false;
  }

  /** All voices at one loudness, the mixer's at that of the whole; or all as they were. */
  setGains() {
    if (!this.transport) return;
    const own = 1 / this.item.sounds.scale;
    const whole = levelled(this.transport.voices.get("original").buffer);
    this.transport.setGains([...this.transport.voices].map(([name, { buffer }]) => {
      if (!this.level.checked) return [name, own];
      return [name, name === "kept" || name === "removed" ? levelled(buffer) : whole];
    }));
  }

  /** Switches the voice; the place stays. */
  listenTo(name) {
    if (!this.transport || !this.radios.has(name)) return;
    this.voice = name;
    this.radios.get(name).checked = true;
    if (name !== "mixer") this.transport.hear([[name, 1]]);
    else this.transport.hear(this.mixed().map((track) => [track, 1]));
  }

  /** The mixer's tracks that sound: those with solo, else those that are not muted. */
  mixed() {
    const all = [...this.item.tracks.keys()].map((number) => `track-${number}`).concat("rest");
    return this.solo.size ? all.filter((track) => this.solo.has(track)) : all.filter((track) => !this.muted.has(track));
  }

  select(selection) {
    this.selection = selection;
    this.mark(selection);
    this.clear && (this.clear.disabled = selection === null);
    this.transport?.setLoop(selection);
    if (selection && this.transport && !this.transport.playing) this.transport.seek(selection[0]);
  }

  mark(selection) {
    if (!this.picture) return;
    this.chosen.hidden = selection === null;
    if (!selection) return;
    this.chosen.style.left = `${this.picture.x(selection[0])}px`;
    this.chosen.style.width = `${Math.max(1, this.picture.x(selection[1]) - this.picture.x(selection[0]))}px`;
    this.chosen.style.top = `${this.picture.margin.top}px`;
    this.chosen.style.height = `${this.picture.height - this.picture.margin.top - this.picture.margin.bottom}px`;
  }

  /** Shows a place of the input, and selects its time. */
  show(box) {
    if (this.picture) {
      this.picture.boxes = [box];
      this.picture.draw();
    }
    this.select(this.transport ? [box[0], Math.max(box[1], box[0] + 0.02)] : null);
  }

  changed() {
    if (this.stopped) return;
    this.playButton.textContent = this.transport.playing ? "Pause" : "Play";
    this.follow();
    if (this.transport.playing) requestAnimationFrame(() => this.frame());
  }

  frame() {
    if (this.stopped || !this.transport.playing) return;
    this.follow();
    requestAnimationFrame(() => this.frame());
  }

  /** Cursor, slider and clock to where the sound is. */
  follow() {
    const at = Math.max(0, this.transport.time);
    this.position.value = String(at);
    this.position.setAttribute("aria-valuetext", seconds(this.item.start_s + at));
    this.clock.textContent = seconds(this.item.start_s + at);
    if (!this.picture) return;
    this.cursor.hidden = false;
    this.cursor.style.left = `${this.picture.x(Math.min(at, this.picture.source.seconds))}px`;
    this.cursor.style.top = `${this.picture.margin.top}px`;
    this.cursor.style.height = `${this.picture.height - this.picture.margin.top - this.picture.margin.bottom}px`;
  }

  async save() {
    if (!this.transport) return;
    const name = this.row.file.split(/[\\/]/).pop().replace(/[^\w.-]+/g, "_").slice(0, 60);
    download(`${name}_${this.voice}.wav`, wavOf(await this.transport.render()));
  }

  /** Colours of another theme, another width. */
  redraw() {
    this.picture?.recolour();
    for (const picture of this.smaller) picture.recolour();
    if (this.strip) drawStrip(this.strip, this.item.segments, this.picture);
    this.mark(this.selection);
    if (this.transport) this.follow();
  }

  /** Whether the key meant something here. */
  key(key) {
    const { transport } = this;
    if (!transport) return false;
    const voice = VOICES.find(([name, , digit]) => digit === key && this.radios.has(name));
    if (key === " ") transport.toggle();
    else if (voice) this.listenTo(voice[0]);
    else if (key === "ArrowLeft") transport.seek(transport.time - this.item.seconds / 50);
    else if (key === "ArrowRight") transport.seek(transport.time + this.item.seconds / 50);
    else if (key === "[") this.select([Math.min(transport.time, this.item.seconds - 0.02), this.selection && this.selection[1] > transport.time ? this.selection[1] : this.item.seconds]);
    else if (key === "]") this.select([this.selection && this.selection[0] < transport.time ? this.selection[0] : 0, Math.max(0.02, transport.time)]);
    else if (key === "Escape") this.select(null);
    else return false;
    return true;
  }
}

/** A bar of a share 0..1. */
function share(value) {
  const fill = el("span", { class: "fill" });
  fill.style.width = `${100 * Math.min(1, Math.max(0, value))}%`;
  return el("span", { class: "share", "aria-hidden": "true" }, fill);
}

function download(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
