// The list of everything in the report: search, filters, sorting, the confusion matrix.

const MORE = 200; // Rows that are added at once.
const NUMBERS = ["Begin", "End", "Score", "Value"];

/** The folders that all names begin with. */
function commonFolder(names) {
  let common = (names[0] ?? "").replace(/[^\\/]*$/, "");
  for (const name of names) {
    while (!name.startsWith(common)) common = common.replace(/[^\\/]*[\\/]$/, "");
  }
  return common;
}

class IndexView {
  constructor(index, datalist, open) {
    this.index = index;
    this.datalist = datalist;
    this.open = open;
    this.order = { by: null, down: false };
    this.shown = MORE;
    this.root = document.getElementById("index");
    this.root.hidden = false;
    this.within = commonFolder(index.rows.map((row) => row.file));
    this.columns = [
      ["Sound", (row) => row.file.slice(this.within.length)],
      ...(index.kind === "detections" ? [["Begin", (row) => row.start_s], ["End", (row) => row.end_s]] : []),
      ["Label", (row) => row.label],
      [index.values ? "Value" : "Score", (row) => row.score],
      ...(index.rows.some((row) => row.truth) ? [["Folder", (row) => row.truth]] : []),
      ["Decision", (row) => decisions.of(row.id).decision],
    ];
    this.build();
    decisions.listeners.push((id) => this.decided(id));
    this.update();
  }

  build() {
    const { index } = this;
    const what = index.kind === "detections" ? "detections" : "sounds";
    const counts = new Map();
    for (const row of index.rows) counts.set(row.label, (counts.get(row.label) ?? 0) + 1);
    const again = () => {
      this.shown = MORE;
      this.update();
    };
    this.search = el("input", { type: "search", id: "search", input: again });
    this.label = el("select", { id: "class", change: again }, el("option", { value: "" }, "all"),
      ...[...counts].sort().map(([label, count]) => el("option", { value: label }, `${label} (${count})`)));
    this.score = el("input", { type: "range", id: "least", min: "0", max: "100", value: "0", input: again });
    this.least = el("output", { for: "least" }, "0%");
    this.state = el("select", { id: "state", change: again }, el("option", { value: "all" }, "all"),
      ...DECISIONS.map(([name, title]) => el("option", { value: name }, title)));
    this.count = el("p", { role: "status", class: "hint" });
    this.body = el("tbody");
    this.heads = this.columns.map(([title, of], number) => el("th", { scope: "col", "aria-sort": "none", class: NUMBERS.includes(title) ? "number" : "" },
      el("button", { type: "button", class: "link", click: () => this.sort(number, of) }, title)));
    this.more = el("button", { type: "button", click: () => { this.shown += 5 * MORE; this.update(); } }, "Show more");
    this.root.append(
      el("h2", { id: "index-title" }, `${index.rows.length} ${index.rows.length === 1 ? what.slice(0, -1) : what} in ${index.sounds.length} ${index.sounds.length === 1 ? "file" : "files"}`),
      el("div", { class: "bar" },
        el("label", {}, "Search ", this.search), el("label", {}, "Class ", this.label),
        index.values ? null : el("label", {}, "Score from ", this.score, " ", this.least), el("label", {}, "Decision ", this.state)),
      this.count,
      el("div", { class: "list wide", tabindex: "0", role: "region", "aria-label": "List" },
        el("table", {}, el("thead", {}, el("tr", {}, ...this.heads)), this.body), this.more),
      el("div", { class: "bar" },
        el("button", { type: "button", id: "csv", click: () => download("decisions.csv", new Blob([csvOf(index.rows)], { type: "text/csv" })) }, "Decisions as CSV"),
        el("button", { type: "button", id: "raven", click: () => download("decisions.selections.txt", new Blob([ravenOf(index.rows, index.sounds)], { type: "text/plain" })) }, "Decisions for Raven")),
      ...this.confusion(), ...this.troubles());
  }

  sort(number, of) {
    const down = this.order.by === of ? !this.order.down : this.columns[number][0] === "Score";
    this.order = { by: of, down };
    this.heads.forEach((head, at) => head.setAttribute("aria-sort", at === number ? (down ? "descending" : "ascending") : "none"));
    this.update();
  }

  /** Numbers of the rows that the filters leave, in order. */
  chosen() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = Number(this.score.value) / 100;
    const rows = this.index.rows;
    const left = [...rows.keys()].filter((number) => {
      const row = rows[number];
      const text = `${row.file} ${row.label} ${row.truth} ${row.time}`.toLowerCase();
      return (this.index.values || row.score >= least) && (!this.label.value || row.label === this.label.value) &&
        (this.state.value === "all" || decisions.of(row.id).decision === this.state.value) &&
        words.every((word) => text.includes(word));
    });
    const { by, down } = this.order;
    if (by) {
      const sign = down ? -1 : 1;
      left.sort((one, other) => {
        const [a, b] = [by(rows[one]), by(rows[other])];
        return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b))) || one - other;
      });
    }
    return left;
  }

  update() {
    this.least.textContent = `${this.score.value}%`;
    this.left = this.chosen();
    this.count.textContent = this.left.length === this.index.rows.length ? "" : `${this.left.length} of ${this.index.rows.length} shown`;
    this.body.replaceChildren(...this.left.slice(0, this.shown).map((number) => this.line(number)));
    this.more.hidden = this.left.length <= this.shown;
    this.mark(this.now);
  }

  line(number) {
    const row = this.index.rows[number];
    const cells = this.columns.map(([title, of]) => {
      const value = of(row);
      if (title === "Sound") {
        return el("th", { scope: "row" }, el("button", { type: "button", class: "link", click: () => this.open(number) }, value));
      }
      if (title === "Decision") return el("td", {}, this.decisionText(row));
      if (title === "Score" || title === "Value") return el("td", { class: "number" }, scoreText(value));
      if (title === "Begin" || title === "End") return el("td", { class: "number" }, seconds(value));
      return el("td", {}, value);
    });
    return el("tr", { "data-number": number }, ...cells);
  }

  decisionText(row) {
    const { decision, label } = decisions.of(row.id);
    return decision === "relabel" ? `relabelled: ${label}` : DECISIONS.find(([name]) => name === decision)[1];
  }

  decided(id) {
    const number = this.index.rows.findIndex((row) => row.id === id);
    this.body.querySelector(`tr[data-number="${number}"]`)?.lastElementChild.replaceChildren(this.decisionText(this.index.rows[number]));
  }

  mark(number) {
    this.now = number;
    for (const row of this.body.children) row.classList.toggle("now", Number(row.dataset.number) === number);
  }

  /** The next or last row of the list as it is filtered and sorted. */
  step(by) {
    const at = this.left.indexOf(this.now);
    const next = this.left[at + by];
    if (next !== undefined) this.open(next);
  }

  /** Folders against labels, where folders are named by labels. */
  confusion() {
    const rows = this.index.rows.filter((row) => row.truth);
    if (!rows.length) return [];
    const names = [...new Set(rows.flatMap((row) => [row.truth, row.label]))].sort().slice(0, 40);
    const truths = names.filter((name) => rows.some((row) => row.truth === name));
    const counted = new Map();
    for (const row of rows) counted.set(JSON.stringify([row.truth, row.label]), (counted.get(JSON.stringify([row.truth, row.label])) ?? 0) + 1);
    const right = rows.filter((row) => row.truth === row.label).length;
    return [el("details", { class: "confusion" },
      el("summary", {}, `Confusion matrix: ${right} of ${rows.length} agree with their folder`),
      el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, el("table", {},
        el("caption", {}, "Rows are folders, columns the model's labels; choose a number to list those."),
        el("thead", {}, el("tr", {}, el("td"), ...names.map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, ...truths.map((truth) => el("tr", {}, el("th", { scope: "row" }, truth), ...names.map((name) => {
          const count = counted.get(JSON.stringify([truth, name])) ?? 0;
          return el("td", { class: `number ${truth === name ? "agree" : count ? "differ" : ""}` },
            count ? el("button", { type: "button", class: "link", "aria-label": `${count} of folder ${truth} with label ${name}`, click: () => this.filter(truth, name) }, String(count)) : "0");
        })))))))];
  }

  filter(truth, name) {
    this.search.value = truth;
    this.label.value = name;
    this.shown = MORE;
    this.update();
    this.root.querySelector(".list").focus();
  }

  /** Files that failed, and warnings of whole files. */
  troubles() {
    const told = this.index.sounds.flatMap((sound) => [...(sound.error ? [sound.error] : []), ...sound.warnings].map((text) => `${sound.file}: ${text}`));
    if (!told.length) return [];
    return [el("details", { class: "warnings" }, el("summary", {}, `${told.length} ${told.length === 1 ? "warning" : "warnings"} about files`),
      el("ul", {}, ...told.slice(0, 500).map((text) => el("li", {}, text))))];
  }
}
