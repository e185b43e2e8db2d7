// Asks the server of this page.

const LATER = 2000; // Milliseconds until a server that starts or is busy is asked again.

/** The error that an answer holds, as one line. */
async function reasonOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

class Server {
  constructor() {
    this.token = null; // Lives as long as the page.
  }

  headers() {
    return this.token === null ? {} : { Authorization: `Bearer ${this.token}` };
  }

  async ask(path, options) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...this.headers(), ...options?.headers }, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer: does it still run?");
    }
    return response;
  }

  /** What the server says of itself; asks for a token where it wants one. */
  async about() {
    for (;;) {
      const response = await this.ask("/v1/bundle");
      if (response.ok) return response.json();
      if (response.status !== 401) throw new Error(await reasonOf(response));
      this.token = await askToken(this.token !== null);
    }
  }

  async explain(blob, name, { target, methods }, signal, tell) {
    const asked = new URLSearchParams({ name });
    if (target !== null) asked.set("target", target);
    for (const method of methods.length ? methods : ["none"]) asked.append("methods", method);
    for (;;) {
      const response = await this.ask(`/page/explain?${asked}`, {
        method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" }, signal,
      });
      if (response.ok) return response.json();
      if (response.status !== 429 && response.status !== 503) throw new Error(await reasonOf(response));
      tell(`${await reasonOf(response)} (asking again)`);
      await new Promise((done) => { setTimeout(done, LATER); });
      signal.throwIfAborted();
    }
  }
}

/** A token from the person who looks at the page. */
function askToken(wrong) {
  return new Promise((done) => {
    const field = el("input", { type: "password", id: "token", autocomplete: "off" });
    const form = el("form", { class: "bar", submit: (event) => {
      event.preventDefault();
      if (field.value) done(field.value);
    } }, el("label", {}, "This server asks for its token ", field), el("button", { type: "submit" }, "Go on"));
    document.getElementById("live").replaceChildren(
      ...(wrong ? [el("p", { role: "alert", class: "notice" }, "That is not its token.")] : []), form);
    field.focus();
  });
}

async function open() {
  const server = new Server();
  try {
    const about = await server.about();
    document.querySelector("h1").textContent = `earmark: ${about.bundle}`;
    startLive({
      labels: about.labels,
      values: about.task === "regression",
      methods: [...about.methods.map((name) => ({ name, chosen: true })), ...about.on_request.map((name) => ({ name, chosen: false }))],
      mostBytes: about.limits.max_bytes,
      explain: (...asked) => server.explain(...asked),
    });
  } catch (error) {
    document.getElementById("waiting")?.remove();
    document.getElementById("live").append(el("p", { role: "alert", class: "notice" }, error.message));
  }
}

open();
