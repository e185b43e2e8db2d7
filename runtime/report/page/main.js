// Opens the report.

const report = JSON.parse(document.getElementById("report-index").textContent);
decisions = new Decisions(report.key);
valued = report.values;
let list = null;

/** Parses an item and shows it; what is not opened is never parsed. */
async function openItem(number) {
  const item = JSON.parse(document.getElementById(`item-${number}`).textContent);
  list?.mark(number);
  await showItem(item, report.rows[number], list ? "labels" : null);
}

function start() {
  startShell((key) => {
    if (list && key === "n") list.step(1);
    else if (list && key === "p") list.step(-1);
    else return false;
    return true;
  });
  document.body.append(el("datalist", { id: "labels" }, ...report.labels.map((label) => el("option", { value: label }))));
  document.getElementById("notes").hidden = !report.notes.length;
  document.getElementById("notes").append(...report.notes.map((note) => el("p", { class: "notice" }, note)));
  const alone = report.kind === "sounds" && report.rows.length === 1;
  if (!alone) {
    list = new IndexView(report, "labels", async (number) => {
      await openItem(number);
      const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      document.getElementById("main").scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
    });
  }
  if (report.rows.length) openItem(0);
}

start();
