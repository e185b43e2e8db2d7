// The nearest prototypes: every vector of a view is compared, as an exact FAISS index does.

import { fetched } from "./runtime.js";
import { likePassages } from "./passages.js";
import { normalised } from "./places.js";

const MATCHES = 5;
const PLACES = 2;
const LOOKED_AT = 3 * MATCHES; // Files among which matches of as many recordings are looked for.
const SHARED = 0.5; // Of the narrower of two like bands, in mel.
const BANDED = new Set(["square", "frequency"]);

const mel = (hz) => 2595 * Math.log10(1 + hz / 700);

export class Prototypes {
  static async open(facts) {
    const array = async (name, Type) => new Type(await (await fetched(`model/prototypes/${name}`)).arrayBuffer());
    const index = new Prototypes();
    index.facts = facts;
    index.clips = await (await fetched("model/prototypes/clips.json")).json();
    index.head = facts.head ? await array("head.f32", Float32Array) : null;
    index.views = new Map(await Promise.all(facts.views.map(async (view) => [view.name, {
      ...view,
      vectors: await array(`${view.name}.vectors.f32`, Float32Array),
      rows: await array(`${view.name}.rows.i32`, Int32Array),
      places: await array(`${view.name}.places.f64`, Float64Array),
      passages: view.passages ? await array(`${view.name}.passages.f32`, Float32Array) : null,
    }])));
    return index;
  }

  /** Weights [C] of a linear head for a target; null where the head is none. */
  headOf(target) {
    const { channels } = this.facts;
    return this.head && this.head.subarray(target * channels, (target + 1) * channels);
  }

  /** The nearest entries to the best places of a view (`Candidates`), best first. */
  nearest(view, candidates) {
    const like = this.search(view, candidates, LOOKED_AT, true);
    // Where no training sound has a like passage, those of any are shown.
    const found = like.length ? like : this.search(view, candidates, LOOKED_AT, false);
    // A recording's best comes before any other's second.
    const recordings = new Set();
    const [first, others] = [[], []];
    found.forEach((match, rank) => {
      const { recording } = this.clips[match.clip];
      (recordings.has(recording) ? others : first).push(rank);
      recordings.add(recording);
    });
    const chosen = [...first, ...others].slice(0, MATCHES).sort((one, other) => one - other);
    return chosen.map((rank) => ({ ...this.match(view, candidates, found[rank]), unlike: !like.length }));
  }

  /** The `count` nearest entries to any of the places, one a source file; ties go to the earlier entry. */
  search(view, candidates, count, passagesAlike) {
    const { rows } = this.views.get(view);
    const hits = candidates.flatMap((one, query) => this.like(view, one, passagesAlike).map((hit) => ({ ...hit, query })));
    hits.sort((one, other) => other.cosine - one.cosine || one.entry - other.entry);
    const sources = new Set();
    const distinct = hits.filter((hit) => {
      const { source } = this.clips[rows[4 * hit.entry]];
      return !sources.has(source) && Boolean(sources.add(source));
    });
    return distinct.slice(0, count).map((hit) => ({ ...hit, clip: rows[4 * hit.entry] }));
  }

  /** The entries in a like band and passage, with their similarity to a place. */
  like(view, { vector, place, frame, passages: around }, passagesAlike) {
    const { entries, dimension, vectors, rows, passages } = this.views.get(view);
    const query = normalised(vector);
    const bands = BANDED.has(view) ? this.alike(place[2], place[3]) : null;
    const own = passagesAlike && passages ? around.at(frame) : null;
    const found = [];
    for (let entry = 0; entry < entries; entry++) {
      const row = rows[4 * entry + 2];
      if (bands && row >= 0 && !bands[row]) continue;
      if (own && !likePassages(own, passages.subarray(2 * entry, 2 * entry + 2))) continue;
      let sum = 0;
      for (let d = 0; d < dimension; d++) sum += query[d] * vectors[entry * dimension + d];
      found.push({ entry, cosine: Math.min(1, Math.max(-1, sum)) });
    }
    return found;
  }

  /** Which rows of the feature map share at least half of the narrower band, in mel. */
  alike(low, high) {
    return this.facts.bands_hz.map((band) => {
      const shared = Math.min(mel(band[1]), mel(high)) - Math.max(mel(band[0]), mel(low));
      const narrower = Math.min(mel(band[1]) - mel(band[0]), mel(high) - mel(low));
      return shared >= SHARED * narrower - 1e-6;
    });
  }

  match(view, candidates, { entry, cosine, query, clip }) {
    const { rows, places } = this.views.get(view);
    return {
      similarity: cosine,
      here: candidates[query].place,
      there: [...places.subarray(4 * entry, 4 * entry + 4)],
      kind: rows[4 * entry + 3] ? "prototype" : "clip",
      label: this.facts.labels[rows[4 * entry + 1]],
      clip: this.clips[clip],
    };
  }
}

/** The best places of a view over all windows; an event that two windows share counts once. */
export class Candidates {
  constructor() {
    this.held = [];
  }

  add(candidates) {
    const held = [];
    for (const one of [...this.held, ...candidates].sort((a, b) => b.weight - a.weight)) {
      if (!held.some((other) => sameEvent(one.place, other.place))) held.push(one);
    }
    this.held = held.slice(0, PLACES);
  }
}

function sameEvent(one, other) {
  const shared = Math.min(one[1], other[1]) - Math.max(one[0], other[0]);
  const shorter = Math.min(one[1] - one[0], other[1] - other[0]);
  return one[2] === other[2] && one[3] === other[3] && shared > 0.5 * shorter;
}

export { PLACES };
