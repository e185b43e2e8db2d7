// What a person decides of each row: kept by the browser, and given out as a table.

const DECISIONS = [["", "open"], ["accept", "accepted"], ["reject", "rejected"], ["relabel", "relabelled"]];

class Decisions {
  constructor(key) {
    this.key = `earmark-report-${key}`;
    this.all = new Map();
    this.listeners = [];
    try {
      for (const [id, one] of Object.entries(JSON.parse(localStorage.getItem(this.key) ?? "{}"))) this.all.set(id, one);
    } catch {
      // Browsers may refuse to keep anything for files; decisions then last as long as the page.
    }
  }

  of(id) {
    return this.all.get(id) ?? { decision: "", label: "" };
  }

  set(id, decision, label = "") {
    if (decision) this.all.set(id, { decision, label });
    else this.all.delete(id);
    try {
      localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(this.all)));
    } catch {
      // As above.
    }
    for (const listener of this.listeners) listener(id);
  }
}

let decisions = null;

function decisionControls(row, datalist) {
  const now = decisions.of(row.id);
  const label = el("input", { type: "text", list: datalist, "aria-label": "The right label", placeholder: "the right label", value: now.label });
  const buttons = DECISIONS.slice(1).map(([name]) => el("button", {
    type: "button", "data-decision": name, "aria-pressed": String(now.decision === name),
    click: () => {
      const undo = decisions.of(row.id).decision === name && (name !== "relabel" || decisions.of(row.id).label === label.value);
      if (name === "relabel" && !label.value.trim()) {
        label.focus();
        return;
      }
      decisions.set(row.id, undo ? "" : name, name === "relabel" && !undo ? label.value.trim() : "");
      for (const button of buttons) {
        button.setAttribute("aria-pressed", String(button.dataset.decision === decisions.of(row.id).decision));
      }
    },
  }, `${name[0].toUpperCase()}${name.slice(1)}`));
  return el("div", { class: "bar decide", role: "group", "aria-label": "Your decision" },
    ...buttons.slice(0, 2), label, buttons[2]);
}

const COLUMNS = ["file", "start_s", "end_s", "label", "score", "low_hz", "high_hz", "start_time", "id", "decision", "decided_label"];

/** The label that holds after the decision; empty where it was rejected. */
function decidedLabel(row) {
  const { decision, label } = decisions.of(row.id);
  return decision === "reject" ? "" : decision === "relabel" ? label : row.label;
}

function csvOf(rows) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = rows.map((row) => [
    row.path, row.start_s, row.end_s, row.label, row.score, row.low_hz ?? "", row.high_hz ?? "", row.time, row.id,
    DECISIONS.find(([name]) => name === decisions.of(row.id).decision)[1], decidedLabel(row),
  ].map((value) => cell(String(value))).join(","));
  return [COLUMNS.join(","), ...lines, ""].join("\n");
}

const RAVEN = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
  "Common Name", "Species Code", "Confidence", "Begin Path", "File Offset (s)", "Begin File", "Annotation", "Decision"];

/** Raven's selection table, without what was rejected; begin times go on from one file to the next, as Raven counts. */
function ravenOf(rows, sounds) {
  const before = new Map();
  let sum = 0;
  for (const sound of sounds) {
    before.set(sound.path, { before: sum, top: sound.sample_rate / 2 });
    sum += sound.duration_s;
  }
  const clean = (value) => String(value).replace(/[\t\r\n]+/g, " ");
  const lines = rows.filter((row) => decisions.of(row.id).decision !== "reject").map((row, number) => {
    const sound = before.get(row.path) ?? { before: 0, top: 0 };
    const label = decidedLabel(row);
    return [number + 1, "Spectrogram 1", 1, (sound.before + row.start_s).toFixed(6), (sound.before + row.end_s).toFixed(6),
      (row.low_hz ?? 0).toFixed(1), (row.high_hz ?? sound.top).toFixed(1), label, label, row.score.toFixed(4), row.path, row.start_s.toFixed(6),
      row.path.split(/[\\/]/).pop(), label, DECISIONS.find(([name]) => name === decisions.of(row.id).decision)[1],
    ].map(clean).join("\t");
  });
  return [RAVEN.join("\t"), ...lines, ""].join("\n");
}
