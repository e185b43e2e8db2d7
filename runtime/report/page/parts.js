// What lies below the player: segments, prototypes, components, contributions, what was run.

class Parts {
  constructor(view) {
    const { item } = view;
    this.view = view;
    this.root = el("div", { class: "parts" });
    this.panels = [];
    if (item.segments) this.panels.push(["Segments", this.segments(item.segments)]);
    if (item.views.length) this.panels.push(["Prototypes", this.prototypes(item)]);
    if (item.tracks.length) this.panels.push(["Components", this.components(item.tracks)]);
    if (item.contributions.length || item.contributions_note) this.panels.push(["Contributions", this.contributions(item)]);
    if (item.others.length) this.panels.push(["More", definitions(item.others)]);
    this.panels.push(["What was run", definitions(item.facts)]);
    this.tabs();
  }

  /** Tabs as the ARIA authoring practices have them: arrows move between them. */
  tabs() {
    const list = el("div", { role: "tablist", "aria-label": "Explanation" });
    const tabs = this.panels.map(([title, panel], number) => {
      Object.assign(panel, { id: `panel-${number}`, hidden: number > 0 });
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", `tab-${number}`);
      panel.setAttribute("tabindex", "0");
      return el("button", {
        type: "button", role: "tab", id: `tab-${number}`, "aria-controls": `panel-${number}`,
        "aria-selected": String(number === 0), tabindex: number === 0 ? "0" : "-1", click: () => choose(number),
      }, title);
    });
    const choose = (chosen) => {
      tabs.forEach((tab, number) => {
        tab.setAttribute("aria-selected", String(number === chosen));
        tab.setAttribute("tabindex", number === chosen ? "0" : "-1");
        this.panels[number][1].hidden = number !== chosen;
      });
      tabs[chosen].focus();
      for (const picture of this.view.smaller) picture.draw();
    };
    list.addEventListener("keydown", (event) => {
      const now = tabs.indexOf(document.activeElement);
      const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (now < 0 || next === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      choose((next + tabs.length) % tabs.length);
    });
    list.append(...tabs);
    this.root.append(list);
    for (const [title, panel] of this.panels) {
      panel.prepend(el("h3", { class: "printed" }, title));
      this.root.append(panel);
    }
  }

  segments(segments) {
    const most = Math.max(...segments.rows.map((row) => Math.abs(row.importance) + (row.uncertainty ?? 0)), 1e-12);
    const ranked = [...segments.rows].sort((one, other) => Math.abs(other.importance) - Math.abs(one.importance));
    return el("div", {},
      el("p", {}, `How much each segment speaks for the label (right, filled) or against it (left, striped), in ${segments.unit}; the thin line is one standard deviation. The strongest ${Math.min(12, ranked.length)} of ${ranked.length}.`),
      el("p", { class: "hint" }, segments.note),
      ...segments.pairs.map((pair) => el("p", {}, `Together, in log-odds: ${pair}.`)),
      bars("Segments", ranked.slice(0, 12).map((row) => ({
        name: placeText(row.box, this.view.item.start_s, segments.axis),
        value: row.importance, spread: row.uncertainty, box: row.box,
      })), most, this.view));
  }

  contributions(item) {
    const most = Math.max(...item.contributions.map((one) => Math.abs(one.value)), 1e-12);
    return el("div", {},
      el("p", {}, `What each channel adds to the logit. ${item.contributions_note}`),
      item.contributions.length ? bars("Contributions", item.contributions.map((one) => ({ ...one, spread: null })), most, this.view) : null);
  }

  prototypes(item) {
    const players = item.clips.map((clip) => new ClipPlayer(clip));
    return el("div", {}, el("p", {}, "Places of this sound, each beside the place in a training clip that the model finds most alike."),
      ...item.views.map((view) => el("section", {},
        el("h4", {}, view.name),
        el("div", { class: "matches" }, ...view.matches.map((match) => this.match(item, match, players))))));
  }

  match(item, match, players) {
    const here = item.picture ? this.small(item.picture, match.here, item.start_s, `Place in this sound: ${placeText(match.here, item.start_s)}`) : null;
    const clip = match.stretch === null ? null : item.clips[match.stretch];
    const moved = clip ? [match.there[0] - clip.start_s, match.there[1] - clip.start_s, match.there[2], match.there[3]] : null;
    const there = clip ? this.small(clip.picture, moved, clip.start_s, `Place in ${match.clip}: ${placeText(match.there, 0)}`) : null;
    const play = clip
      ? el("button", { type: "button", "aria-label": `Play ${match.label}, ${match.clip}`, click: (event) => players[match.stretch].toggle(event.currentTarget) }, "Play")
      : el("span", { class: "hint" }, "no sound of it here");
    return el("figure", { class: "match" },
      el("div", { class: "pair" },
        el("div", {}, here,
          el("button", { type: "button", "aria-label": `Show this place, ${placeText(match.here, item.start_s)}`, click: () => this.view.show(match.here) }, "Here"),
          el("span", { class: "where" }, ` ${placeText(match.here, item.start_s)}`)),
        el("div", {}, there, play, el("span", { class: "where" }, ` ${placeText(match.there, 0)}`))),
      el("figcaption", {}, el("strong", {}, match.label), ` ${match.similarity.toFixed(2)} alike, ${match.clip}`,
        match.unlike ? el("span", { class: "unlike" }, " (of another length or rhythm)") : null,
        match.attribution ? el("span", { class: "hint" }, ` ${match.attribution}`) : null));
  }

  small(source, box, startS, label) {
    const picture = new Picture({ ...source, mask: "" }, { startS, height: 96, axes: false, label });
    picture.scale = "mel";
    picture.boxes = [box];
    picture.load();
    this.view.smaller.push(picture);
    return picture.canvas;
  }

  components(tracks) {
    const { view } = this;
    const row = (track, name, note, relevance) => {
      const toggle = (set, title) => el("button", {
        type: "button", "aria-pressed": "false", "aria-label": `${title} ${name}`, "data-track": track,
        click: (event) => {
          const pressed = !set.delete(track) && Boolean(set.add(track));
          event.currentTarget.setAttribute("aria-pressed", String(pressed));
          view.listenTo("mixer");
        },
      }, title);
      return el("tr", {}, el("th", { scope: "row" }, name, note ? el("span", { class: "hint" }, ` ${note}`) : null),
        el("td", {}, relevance === null ? "" : share(relevance)), el("td", { class: "number" }, relevance === null ? "" : relevance.toFixed(2)),
        el("td", {}, toggle(view.solo, "Solo"), " ", toggle(view.muted, "Mute")));
    };
    return el("div", {}, el("p", {}, "Listen to the parts alone (solo) or leave them out (mute): the player switches to the mixer. All of them together are the original."),
      el("div", { class: "wide" }, el("table", { class: "mixer" },
        el("thead", {}, el("tr", {}, ...["Component", "Relevance", "", "Mixer"].map((title) => el(title ? "th" : "td", title ? { scope: "col" } : {}, title)))),
        el("tbody", {}, ...tracks.map((track, number) => row(`track-${number}`, track.name, track.note, track.relevance)),
          row("rest", "All the rest", "", null)))));
  }
}

/** Plays the stretch of a training clip. */
class ClipPlayer {
  constructor(clip) {
    this.clip = clip;
    this.transport = null;
    this.button = null;
  }

  async toggle(button) {
    if (!this.transport) {
      const { sounds } = this.clip;
      const buffer = await decoded(sounds.original, sounds.rate);
      this.transport = new Transport(new Map([["clip", { buffer, gain: levelled(buffer) }]]), buffer.duration, () => {
        if (this.button) this.button.textContent = this.transport.playing ? "Stop" : "Play";
      });
      this.transport.hear([["clip", 1]]);
    }
    if (this.button && this.button !== button) this.button.textContent = "Play";
    this.button = button;
    if (this.transport.playing) {
      this.transport.pause();
      this.transport.seek(0);
    } else this.transport.play();
  }
}

function placeText([start, end, low, high], startS, axis = "both") {
  const time = `${(startS + start).toFixed(2)} to ${seconds(startS + end)}`;
  const band = `${Math.round(low)} to ${hertz(high)}`;
  return axis === "time" ? time : axis === "frequency" ? band : `${time}, ${band}`;
}

/** Bars to both sides of zero; a row that has a place shows it. */
function bars(caption, rows, most, view) {
  return el("div", { class: "wide" }, el("table", { class: "bars" }, el("caption", { class: "hidden" }, caption),
    el("tbody", {}, ...rows.map((row) => {
      const bar = el("span", { class: row.value < 0 ? "negative" : "positive" });
      const reach = (50 * Math.abs(row.value)) / most;
      bar.style.width = `${reach}%`;
      bar.style.left = `${row.value < 0 ? 50 - reach : 50}%`;
      const track = el("span", { class: "signed", "aria-hidden": "true" }, bar);
      if (row.spread !== null) {
        const whisker = el("span", { class: "whisker" });
        whisker.style.left = `${Math.max(0, 50 + (50 * (row.value - row.spread)) / most)}%`;
        whisker.style.width = `${(100 * row.spread) / most}%`;
        track.append(whisker);
      }
      const name = row.box ? el("button", { type: "button", class: "link", click: () => view.show(row.box) }, row.name) : row.name;
      const spread = row.spread === null ? "" : ` ± ${row.spread.toPrecision(2)}`;
      return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "track" }, track),
        el("td", { class: "number" }, `${row.value >= 0 ? "+" : "−"}${Math.abs(row.value).toPrecision(3)}${spread}`));
    }))));
}

function definitions(pairs) {
  return el("div", {}, el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
}

/** Segments under the time axis: up and filled for the label, down and striped against it, with a deviation. */
function drawStrip(canvas, segments, picture) {
  canvas.style.height = "72px";
  if (!canvas.clientWidth) return;
  const { context, height } = fit(canvas, 72);
  const { ink, faint, mark } = colourScheme();
  const middle = height / 2;
  const most = Math.max(...segments.rows.map((row) => Math.abs(row.importance) + (row.uncertainty ?? 0)), 1e-12);
  const y = (value) => middle - (value / most) * (middle - 5);
  context.strokeStyle = faint;
  line(context, picture.margin.left, middle, canvas.clientWidth - picture.margin.right, middle);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = faint;
  context.textAlign = "right";
  context.fillText("for", picture.margin.left - 7, 14);
  context.fillText("against", picture.margin.left - 2, height - 5);
  for (const { box, importance, uncertainty } of segments.rows) {
    const [left, right] = [picture.x(box[0]) + 1, picture.x(box[1]) - 1];
    const [top, bottom] = [Math.min(middle, y(importance)), Math.max(middle, y(importance))];
    context.strokeStyle = context.fillStyle = importance < 0 ? ink : mark;
    if (importance >= 0) context.fillRect(left, top, Math.max(1, right - left), bottom - top);
    else {
      context.strokeRect(left + 0.5, top, Math.max(1, right - left - 1), bottom - top);
      for (let at = top + 3; at < bottom; at += 4) line(context, left, at, right, at);
    }
    if (uncertainty === null) continue;
    context.strokeStyle = importance >= 0 && bottom - top > 8 ? faint : ink;
    line(context, (left + right) / 2, y(importance - uncertainty), (left + right) / 2, y(importance + uncertainty));
  }
}
