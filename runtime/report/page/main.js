// Opens the report.

const report = JSON.parse(document.getElementById("report-index").textContent);
decisions = new Decisions(report.key);
let view = null;
let list = null;

/** Light or dark: as the system has it, until somebody chooses. */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  button.setAttribute("aria-pressed", String(theme === "dark"));
  view?.redraw();
}

/** Parses an item and shows it; what is not opened is never parsed. */
async function openItem(number) {
  const main = document.getElementById("main");
  view?.close();
  const item = JSON.parse(document.getElementById(`item-${number}`).textContent);
  view = new ItemView(item, report.rows[number], list ? "labels" : null);
  main.replaceChildren(view.root);
  list?.mark(number);
  await view.open();
}

function start() {
  const wanted = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(wanted.matches ? "dark" : "light");
  wanted.addEventListener("change", () => setTheme(wanted.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
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
  let waiting = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => view?.redraw());
  }).observe(document.getElementById("main"));
  window.addEventListener("beforeprint", () => { printing = true; view?.redraw(); });
  window.addEventListener("afterprint", () => { printing = false; view?.redraw(); });
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const typing = target instanceof HTMLInputElement && ["text", "search"].includes(target.type);
    if (typing || target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const pressing = target instanceof HTMLButtonElement || target instanceof HTMLInputElement || target.tagName === "SUMMARY";
    if (event.key === " " && pressing) return;
    if (event.key.startsWith("Arrow") && target instanceof HTMLInputElement) return;
    if (list && event.key === "n") list.step(1);
    else if (list && event.key === "p") list.step(-1);
    else if (!view?.key(event.key)) return;
    event.preventDefault();
  });
}

start();
