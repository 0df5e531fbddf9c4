// A shop's own list, of a search or a category, re-ordered for one shopper in the page (recsys/lists/rank_items.py).
import { ShelfError } from "./errors.js";
import { plainScores } from "./lists.js";
import { OWN, TREND, featuresOf, heightsOf } from "./mix.js";
import { DISLIKE, PURCHASE, repeatScores } from "./profile.js";

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./catalogue.js").Mix} Mix */
/** @typedef {import("./profile.js").History} History */
/** base: the shop's scores, its order without. impact=low moves no item by more than three places. @typedef {{ base?: number[] | null, impact?: "low" | "medium" | "high", surface?: "search" | "category", now?: number }} RankAsked */
/** What is known of every item; made anew when the history changes. @typedef {{ personal: Float32Array, own: Float32Array, present: Uint8Array, distinct: number, baskets: number }} Signals */
/** @typedef {{ items: string[], scores: number[], unknown: string[] }} Ranked */

const MAX_RANKED = 1000, MOST_MOVED = 3, HOUR_US = 3_600_000_000, f32 = Math.fround;
const BASE_WEIGHT = { low: 0.5, medium: 0.1, high: 0 };
const WEIGHTS = {
  search: { own: 0.2, present: 1.4, distinct: 0.3, baskets: 0.45, share: 1.8 },
  category: { own: 1, present: 0, distinct: 0, baskets: 0, share: 0 },
};

/** Signals held of the last history, catalogue and hour. @type {WeakMap<Catalogue, { key: string, signals: Signals | null }>} */
const held = new WeakMap();

/**
 * Re-order a shop's list; its own order is kept where nothing is known of the shopper. Throws ShelfError "rank".
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {string[]} items
 * @param {RankAsked} [asked]
 * @returns {Ranked}
 */
export function rankItems(catalogue, history, items, { base = null, impact = "medium", surface = "search", now = Date.now() * 1000 } = {}) {
  if (items.length > MAX_RANKED) refuse(`items: ${items.length}: must be at most ${MAX_RANKED}`);
  if (new Set(items).size < items.length) refuse("items: one is given twice");
  if (!Object.hasOwn(BASE_WEIGHT, impact)) refuse(`impact: must be one of ${Object.keys(BASE_WEIGHT).join(", ")}`);
  if (!Object.hasOwn(WEIGHTS, surface)) refuse(`surface: must be one of ${Object.keys(WEIGHTS).join(", ")}`);
  const heights = baseHeights(items.length, base), places = items.map((id) => catalogue.index.get(id) ?? -1);
  const start = byScore(heights), signals = signalsOf(catalogue, history, Math.floor(now / HOUR_US) * HOUR_US);
  const scores = signals ? scoresOf(signals, places, heights, impact, surface) : heights;
  const order = signals ? reorder(start.map((place) => scores[place]), impact).map((place) => start[place]) : start;
  return { items: order.map((place) => items[place]), scores: order.map((place) => scores[place]), unknown: items.filter((_, at) => places[at] < 0) };
}

/** @param {number} n @param {number[] | null} base */
function baseHeights(n, base) {
  if (!base) return Float32Array.from({ length: n }, (_, place) => 0 - Math.log1p(place));
  if (base.length !== n || !base.every(Number.isFinite)) refuse(`base: must be ${n} finite numbers, one for each item`);
  const mean = base.reduce((a, b) => a + b, 0) / n, spread = Math.sqrt(base.reduce((a, b) => a + (b - mean) ** 2, 0) / n);
  return Float32Array.from(base, (score) => (score - mean) / (spread > 0 ? spread : 1));
}

/** @param {Signals} signals @param {number[]} places @param {Float32Array} base @param {keyof BASE_WEIGHT} impact @param {keyof WEIGHTS} surface */
function scoresOf({ personal, own, present, distinct, baskets }, places, base, impact, surface) {
  const weights = WEIGHTS[surface], known = places.filter((place) => place >= 0);
  const share = known.filter((place) => present[place]).length / Math.max(places.length, 1);
  const familiar = f32(weights.present - weights.distinct * Math.log(Math.max(distinct, 1)) + weights.baskets * Math.log(Math.max(baskets, 1)) - weights.share * share);
  const height = (/** @type {number} */ place) => f32(f32(personal[place] + f32(f32(weights.own) * own[place])) + familiar * present[place]);
  const mean = known.length ? known.reduce((sum, place) => sum + height(place), 0) / known.length : 0;
  return Float32Array.from(places, (place, at) => f32(place < 0 ? mean : height(place)) + f32(f32(BASE_WEIGHT[impact]) * base[at]));
}

/** @param {number[]} scores @param {string} impact */
function reorder(scores, impact) {
  if (impact !== "low") return byScore(scores);
  const placed = new Set();
  return scores.map((_, place) => {
    let chosen = place - MOST_MOVED; // what may stand nowhere later
    if (chosen < 0 || placed.has(chosen)) {
      chosen = -1;
      for (let at = Math.max(place - MOST_MOVED, 0); at < Math.min(place + MOST_MOVED + 1, scores.length); at++) {
        if (!placed.has(at) && (chosen < 0 || scores[at] > scores[chosen])) chosen = at;
      }
    }
    placed.add(chosen);
    return chosen;
  });
}

/** Places by score, equal ones in their order. @param {ArrayLike<number>} scores @returns {number[]} */
function byScore(scores) {
  return Array.from(scores, (_, place) => place).sort((a, b) => scores[b] - scores[a] || a - b);
}

/** @param {Catalogue} catalogue @param {History} history @param {number} now */
function signalsOf(catalogue, history, now) {
  const key = [now, ...history.item, ...history.kind, ...history.time].join(), last = held.get(catalogue);
  if (last?.key === key) return last.signals;
  const signals = history.item.length ? makeSignals(catalogue, history, now) : null;
  held.set(catalogue, { key, signals });
  return signals;
}

/** @param {Catalogue} catalogue @param {History} history @param {number} now @returns {Signals} */
function makeSignals(catalogue, history, now) {
  const present = new Uint8Array(catalogue.nItems);
  history.item.forEach((item, j) => (present[item] |= Number(history.kind[j] !== DISLIKE)));
  const distinct = present.reduce((a, b) => a + b, 0);
  const baskets = new Set(history.time.filter((_, j) => history.kind[j] === PURCHASE)).size;
  const { mix } = catalogue;
  if (mix) {
    const { features } = featuresOf(/** @type {Catalogue & { mix: Mix }} */ (catalogue), history, now, new Uint8Array(catalogue.nItems), true);
    const others = Float32Array.from(mix.weights.new).fill(0, OWN, TREND);
    return { personal: heightsOf(features, others), own: heightsOf(features, Float32Array.from(mix.weights.all), OWN, TREND), present, distinct, baskets };
  }
  const plain = plainScores(catalogue, history, now), own = new Float32Array(catalogue.nItems);
  const mean = plain.reduce((a, b) => a + b, 0) / plain.length;
  const spread = Math.sqrt(plain.reduce((a, b) => a + (b - mean) ** 2, 0) / plain.length), unit = f32(spread > 0 ? 1 / spread : 1);
  for (const [item, score] of repeatScores(history, now, catalogue.config.repeat_half_life)) {
    own[item] = f32(f32(catalogue.config.repeat_weight) * score) * unit;
  }
  return { personal: plain.map((score) => score * unit), own, present, distinct, baskets };
}

/** @param {string} why @returns {never} */
function refuse(why) {
  throw new ShelfError("rank", why);
}
