// Why each item is in a list, in words for its own shopper; the parts of a score add up to it (recsys/lists/reasons.py).
import { DISLIKE, addEventQuery, eventWeights, rowsOf, solve, system } from "./profile.js";
import { NEXT_HALF_LIFE, recent, withoutDislikes } from "./mix.js";

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./catalogue.js").Mix} Mix */
/** @typedef {import("./profile.js").History} History */
/** @typedef {import("./mix.js").MixedList} MixedList */

/**
 * The largest of all that speaks for an item. item: of the history, the listed one itself for "repeat", else null.
 * share: of the sum of all positive parts. signals: what each signal of a mix adds.
 * @typedef {{ kind: string, item: string | null, share: number, text: string, signals: Record<string, number> }} Reason
 */

/** What each distinct item of a history adds to the listed items. @typedef {{ items: number[], kinds: number[], parts: Float64Array[] }} Contributions */

const KINDS = ["view", "cart", "purchase", "like", "dislike"];
const VERBS = [
  "because you viewed", "because you put", "because you bought", "because you liked", "because you disliked",
];
/** @type {Reason} */
export const POPULAR = { kind: "trend", item: null, share: 1, text: "popular now", signals: {} };

/**
 * One reason for each listed item; null where nothing speaks for it.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Int32Array} listed
 * @param {Map<number, number>} bonus what the repeat counter adds to own items
 * @returns {(Reason | null)[]}
 */
export function plainReasons(catalogue, history, now, listed, bonus) {
  const because = contributions(catalogue, history, now, listed, catalogue.intent ? catalogue.config.intent_share : 0);
  return Array.from(listed, (item, place) => {
    const parts = because.parts[place];
    const trend = catalogue.config.trend_weight * catalogue.trend[item], repeat = bonus.get(item) ?? 0;
    const whole = parts.reduce((sum, part) => sum + Math.max(part, 0), 0) + trend + repeat;
    if (whole <= 0) return null;
    const largest = Math.max(...parts, trend, repeat), share = largest / whole;
    if (largest === trend) return { ...POPULAR, share };
    if (largest === repeat) {
      return { ...POPULAR, kind: "repeat", item: catalogue.ids[item], share, text: "because you have bought it before" };
    }
    return byEvent(catalogue, because, place, item, share);
  });
}

/**
 * One reason for each listed item of a mix: the signal that adds most, with the event that speaks most.
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Int32Array} listed
 * @param {MixedList} mixed
 * @returns {(Reason | null)[]}
 */
export function mixedReasons(catalogue, history, now, listed, mixed) {
  /** @type {Record<string, Contributions>} */
  const causes = {
    taste: contributions(catalogue, history, now, listed, 0),
    transition: follows(catalogue, history, listed),
  };
  if (catalogue.intent) causes.intent = contributions(catalogue, history, now, listed, 1);
  return Array.from(listed, (item, place) => {
    const signals = mixed.shares(item);
    const whole = Object.values(signals).reduce((sum, value) => sum + Math.max(value, 0), 0);
    if (whole <= 0) return null;
    const name = Object.keys(signals).reduce((a, b) => (signals[b] > signals[a] ? b : a));
    const reason = { ...POPULAR, share: signals[name] / whole };
    if (name in causes) Object.assign(reason, byEvent(catalogue, causes[name], place, item, reason.share));
    else if (name === "own") {
      Object.assign(reason, { kind: "repeat", item: catalogue.ids[item], text: "because you had it before" });
    } else if (name === "category") {
      Object.assign(reason, { kind: "category", text: `popular in ${catalogue.categories[item]}` });
    } else if (name === "price") Object.assign(reason, { kind: "price", text: "about as dear as what you looked at" });
    return { ...reason, signals };
  });
}

/**
 * The exact share of each event of a history in the scores of some listed items; share: g of the intent.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Int32Array} listed
 * @param {number} share
 * @returns {Contributions}
 */
function contributions(catalogue, history, now, listed, share) {
  const { taste, intent, config } = catalogue, { width } = taste, n = history.item.length;
  const rows = rowsOf(catalogue, history.item, taste), weights = eventWeights(history, now, config);
  const factor = system(catalogue, rows, weights, config);
  const items = [...new Set(history.item)].sort((a, b) => a - b), place = new Map(items.map((item, at) => [item, at]));
  const done = items.map(() => new Float64Array(KINDS.length));
  history.item.forEach((item, j) => (done[/** @type {number} */ (place.get(item))][history.kind[j]] += weights[j]));
  /** @type {Float64Array[]} */
  const queries = [];
  if (intent && share > 0) {
    for (let j = 0; j < n; j++) {
      addEventQuery(queries[j] = new Float64Array(intent.width), rows, history.kind, j, width, config);
    }
  }
  const parts = Array.from(listed, (item) => {
    const sums = new Float64Array(items.length), wanted = new Float64Array(width);
    catalogue.row(item, wanted, taste);
    solve(factor, wanted);
    const row = intent && new Float64Array(intent.width);
    if (intent && row) catalogue.row(item, row, intent);
    for (let j = 0; j < n; j++) {
      let part = 0;
      for (let k = 0; k < width; k++) part += rows[j * width + k] * wanted[k];
      part *= (1 - share) * weights[j] * (history.kind[j] === DISLIKE ? -1 : 1);
      if (row && queries[j]) for (let k = 0; k < row.length; k++) part += share * queries[j][k] * row[k];
      sums[/** @type {number} */ (place.get(history.item[j]))] += part;
    }
    return sums;
  });
  return { items, kinds: done.map((weighed) => weighed.lastIndexOf(Math.max(...weighed))), parts };
}

/**
 * What each item of a history adds to the transitions to the listed items, at the shorter half-life.
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} history
 * @param {Int32Array} listed
 * @returns {Contributions}
 */
function follows({ mix }, history, listed) {
  const spoken = withoutDislikes(history), asking = recent(spoken, NEXT_HALF_LIFE);
  /** @type {Map<number, number>} */
  const kinds = new Map();
  spoken.item.forEach((item, j) => kinds.set(item, spoken.kind[j]));
  const place = new Map(Array.from(listed, (item, at) => [item, at]));
  const parts = Array.from(listed, () => new Float64Array(asking.length));
  asking.forEach(([item, weight], a) => {
    for (let at = mix.start[item]; at < mix.start[item + 1]; at++) {
      const to = place.get(mix.near[at]);
      if (to !== undefined) parts[to][a] = mix.pull[at] * weight;
    }
  });
  return { items: asking.map(([item]) => item), kinds: asking.map(([item]) => kinds.get(item) ?? 0), parts };
}

/**
 * @param {Catalogue} catalogue
 * @param {Contributions} because
 * @param {number} place
 * @param {number} item
 * @param {number} share
 * @returns {Reason}
 */
function byEvent(catalogue, { items, kinds, parts }, place, item, share) {
  const most = Math.max(...parts[place]);
  if (!(most > 0)) return { ...POPULAR, share };
  const at = parts[place].indexOf(most), cause = items[at], kind = kinds[at];
  const what = cause === item ? "it before" : catalogue.titles[cause] || catalogue.ids[cause];
  const text = `${VERBS[kind]} ${what}${kind === 1 ? " in your cart" : ""}`;
  return { kind: KINDS[kind], item: catalogue.ids[cause], share, text, signals: {} };
}
