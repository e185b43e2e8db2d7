// What every page has: the theme, keys, and redrawing where the width or the paper changes.

let view = null; // The item that is shown.

/** Light or dark: as the system has it, until somebody chooses. */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  button.setAttribute("aria-pressed", String(theme === "dark"));
  view?.redraw();
}

/** Shows an item in place of the one before. */
async function showItem(item, row, datalist) {
  view?.close();
  view = new ItemView(item, row, datalist);
  document.getElementById("main").replaceChildren(view.root);
  await view.open();
}

/** Starts the shell; `ownKey` takes a key first and says whether it meant something. */
function startShell(ownKey) {
  const wanted = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(wanted.matches ? "dark" : "light");
  wanted.addEventListener("change", () => setTheme(wanted.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  });
  let waiting = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => view?.redraw());
  }).observe(document.getElementById("main"));
  window.addEventListener("beforeprint", () => { printing = true; view?.redraw(); });
  window.addEventListener("afterprint", () => { printing = false; view?.redraw(); });
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const typing = target instanceof HTMLInputElement && ["text", "search", "password"].includes(target.type);
    if (typing || target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const pressing = target instanceof HTMLButtonElement || target instanceof HTMLInputElement || target.tagName === "SUMMARY";
    if (event.key === " " && pressing) return;
    if (event.key.startsWith("Arrow") && target instanceof HTMLInputElement) return;
    if (!ownKey(event.key) && !view?.key(event.key)) return;
    event.preventDefault();
  });
}
