// A page that explains: a sound is dropped, chosen or recorded, and the answer is shown as in a report.
//
// Who answers is the script behind this one: it calls startLive with what it can do.

const MOST_RECORDED_S = 60;

class Live {
  /**
   * `able` says who answers:
   *   labels: names of the classes, or [] where none can be asked for
   *   methods: [{ name, chosen }]
   *   mostBytes: of a file, or null
   *   values: whether scores are values of a regression, and no shares
   *   about: a sentence below the controls, or nothing
   *   example: { name, open() }: a sound to begin with, which `open` promises as a blob, or nothing
   *   explain(blob, name, { target, methods }, signal, tell): a promise of { row, item } of
   *     runtime/report/items.py; tell(text) says how far it is
   */
  constructor(able) {
    this.able = able;
    valued = Boolean(able.values);
    this.running = null; // Of the sound that is explained: its AbortController.
    this.recording = null;
    this.last = null; // The sound that was given last: [blob, name].
    this.root = document.getElementById("live");
    this.file = el("input", { type: "file", id: "file", class: "hidden", tabindex: "-1", "aria-label": "Sound file", accept: "audio/*,.wav,.flac,.ogg,.opus,.mp3,.aif,.aiff,.au,.caf,.w64",
      change: () => this.file.files.length && this.take(this.file.files[0], this.file.files[0].name) });
    this.choose = el("button", { type: "button", id: "choose", click: () => this.file.click() }, "Choose a sound");
    this.record = el("button", { type: "button", id: "record", "aria-pressed": "false", click: () => this.toggleRecording() }, "Record");
    this.example = able.example ? el("button", { type: "button", id: "example", click: () => this.takeExample() }, "Try the example") : null;
    this.cancel = el("button", { type: "button", id: "cancel", hidden: true, click: () => this.stop("Cancelled.") }, "Cancel");
    this.status = el("p", { role: "status", id: "status", class: "hint" });
    this.error = el("p", { role: "alert", id: "error", class: "notice", hidden: true });
    this.zone = el("div", { class: "drop", id: "drop" },
      el("p", {}, "Drop a sound here, or"), el("div", { class: "bar" }, this.choose, this.record, this.example, this.cancel, this.file), this.status);
    this.root.replaceChildren(this.zone, ...(able.about ? [el("p", { class: "hint" }, able.about)] : []), this.controls(), this.error);
    this.listen();
    if (!navigator.mediaDevices?.getUserMedia) {
      this.record.disabled = true;
      this.tell("Browsers record on https and localhost pages only; files can be dropped anywhere.");
    }
    this.root.dataset.ready = "true";
  }

  controls() {
    const { labels, methods } = this.able;
    this.target = el("select", { id: "target", change: () => this.last && this.take(...this.last) }, el("option", { value: "" }, "what is predicted"), ...labels.map((label) => el("option", { value: label }, label)));
    this.boxes = methods.map(({ name, chosen }) => [name, el("input", { type: "checkbox", name: "method", value: name, checked: chosen })]);
    return el("div", { class: "bar", role: "group", "aria-label": "What to explain" },
      labels.length ? el("label", {}, "Explain ", this.target) : null,
      ...(methods.length > 1 ? this.boxes.map(([name, box]) => el("label", {}, box, ` ${name}`)) : []));
  }

  listen() {
    const over = (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      this.zone.classList.toggle("over", event.type === "dragover");
    };
    document.addEventListener("dragover", over);
    document.addEventListener("dragleave", over);
    document.addEventListener("drop", (event) => {
      over(event);
      const [file] = event.dataTransfer.files;
      if (file && !this.recording) this.take(file, file.name);
    });
  }

  tell(text) {
    this.status.textContent = text;
  }

  fail(text) {
    this.error.textContent = text;
    this.error.hidden = false;
    this.tell("");
  }

  /** Ends what runs. */
  stop(text) {
    this.running?.abort();
    this.running = null;
    this.cancel.hidden = true;
    this.tell(text);
  }

  async takeExample() {
    const { name, open } = this.able.example;
    try {
      await this.take(await open(), name);
    } catch (error) {
      this.fail(error.message);
    }
  }

  /** Explains a sound; one that comes later takes its place. */
  async take(blob, name) {
    this.stop("");
    this.error.hidden = true;
    this.file.value = "";
    const { mostBytes } = this.able;
    if (blob.size === 0) return this.fail(`${name} is empty.`);
    if (mostBytes && blob.size > mostBytes) return this.fail(`${name} has ${megabytes(blob.size)}; at most ${megabytes(mostBytes)} are taken.`);
    const running = new AbortController();
    this.running = running;
    this.last = [blob, name];
    this.cancel.hidden = false;
    const begun = performance.now();
    let far = "";
    const tick = () => this.running === running && this.tell(`Explaining ${name}: ${((performance.now() - begun) / 1000).toFixed(0)} s${far}`);
    const tell = (text) => {
      far = `, ${text}`;
      tick();
    };
    const clock = setInterval(tick, 1000);
    tick();
    try {
      const methods = this.boxes.filter(([, box]) => box.checked).map(([method]) => method);
      const { row, item } = await this.able.explain(blob, name, { target: this.target.value || null, methods }, running.signal, tell);
      if (this.running !== running) return;
      await showItem(item, row, null);
      this.stop(`${name} is explained, after ${((performance.now() - begun) / 1000).toFixed(1)} s.`);
    } catch (error) {
      if (this.running !== running) return;
      this.stop("");
      this.fail(error instanceof Error ? error.message : String(error));
    } finally {
      clearInterval(clock);
    }
  }

  async toggleRecording() {
    if (this.recording) {
      this.recording.stop();
      return;
    }
    this.stop("");
    this.error.hidden = true;
    // Until the person has allowed it.
    this.record.disabled = true;
    try {
      this.recording = await recorder((seconds) => {
        this.tell(`Recording: ${seconds.toFixed(0)} s`);
        if (seconds >= MOST_RECORDED_S) this.recording?.stop();
      });
    } catch (error) {
      this.fail(error.name === "NotAllowedError" ? "The browser was not allowed to record." : `Recording does not work here: ${error.message}`);
      return;
    } finally {
      this.record.disabled = false;
    }
    this.showRecording(true);
    let wav = null;
    try {
      wav = await this.recording.wav;
    } catch (error) {
      this.fail(`The recording cannot be used: ${error.message}`);
    }
    this.recording = null;
    this.showRecording(false);
    if (wav) await this.take(wav, "recording.wav");
  }

  /** While something is recorded, no other sound is taken. */
  showRecording(is) {
    this.record.textContent = is ? "Stop and explain" : "Record";
    this.record.setAttribute("aria-pressed", String(is));
    for (const button of [this.choose, this.example]) if (button) button.disabled = is;
  }
}

/** Records the microphone as it is, without a telephone's filters: `wav` is a promise of a WAV, after `stop()`. */
async function recorder(ticked) {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  // Without loss where the browser can.
  const type = ["audio/webm;codecs=pcm", "audio/webm;codecs=opus", "audio/mp4"].find((one) => MediaRecorder.isTypeSupported(one));
  const media = new MediaRecorder(stream, { ...(type ? { mimeType: type } : {}), audioBitsPerSecond: 256000 });
  const parts = [];
  media.ondataavailable = (event) => parts.push(event.data);
  const begun = performance.now();
  const clock = setInterval(() => ticked((performance.now() - begun) / 1000), 250);
  const ended = new Promise((done) => { media.onstop = done; });
  media.start();
  const wav = ended.then(async () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
    const { sampleRate } = live();
    const bytes = await new Blob(parts).arrayBuffer();
    return wavOf(await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes));
  });
  return { stop: () => media.state !== "inactive" && media.stop(), wav };
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

let page = null;

/** Shows the controls; until then the page says what `about` says. */
function startLive(able) {
  page = new Live(able);
}

startShell(() => false);
