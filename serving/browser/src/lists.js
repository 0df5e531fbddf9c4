// Lists made on the device, of a history, a catalogue and the time: pure functions, which send nothing.
import { ShelfError } from "./errors.js";
import { parseFilter } from "./filters.js";
import { mixedList } from "./mix.js";
import { CART, PURCHASE, VIEW, foldIn, makeProfile, repeatScores, rowsOf } from "./profile.js";
import { best, diversify } from "./ranking.js";
import { POPULAR, mixedReasons, plainReasons } from "./reasons.js";

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./catalogue.js").Mix} Mix */
/** @typedef {import("./profile.js").History} History */
/** @typedef {import("./reasons.js").Reason} Reason */

/** One item of a list. @typedef {{ item: string, score: number, title: string | null, category: string | null, price: number | null, reason: Reason | null }} Listed */

/**
 * What a list is asked for. context: the item of a product page. cart: items. exclude: items that must not appear.
 * filter: docs/api.md. diversity: 0..1. unseen: leave out the own history. repeat: whether own items count as such.
 * reasons: why each item is there. now: µs since 1970.
 * @typedef {object} Asked
 * @property {number} [topK]
 * @property {string} [context]
 * @property {string[]} [cart]
 * @property {string[]} [exclude]
 * @property {unknown} [filter]
 * @property {number} [diversity]
 * @property {boolean} [unseen]
 * @property {boolean} [repeat]
 * @property {boolean} [reasons]
 * @property {number} [now]
 */

/** A list, best first. fallback: "trend" when nothing was known of the shopper. @typedef {{ items: Listed[], bundleVersion: string, placement: string, fallback: "trend" | null, unknownExclude: string[] }} Recommendations */

/** Scores of all items; barred: what must not be listed; why: reasons of listed items. @typedef {{ scores: Float32Array, personal: boolean, why?: (listed: Int32Array) => (Reason | null)[] }} Scored */

const CONTEXT_WEIGHT = 0.4, CART_WEIGHT = 0.8;
const NOT_FINITE = -Infinity;
export const PLACEMENTS = [
  "for-you", "new-for-you", "trending", "similar", "goes-with", "because-you-viewed", "recently-viewed", "buy-again",
];

/**
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {string} placement
 * @param {Asked} asked
 * @returns {Recommendations}
 */
export function recommend(catalogue, history, placement, asked) {
  const { topK = 10, diversity = 0, now = Date.now() * 1000 } = asked;
  if (!Number.isInteger(topK) || topK < 1 || topK > 1000) throw new ShelfError("top_k", `topK=${topK}: must be 1..1000`);
  if (!(diversity >= 0 && diversity <= 1)) throw new ShelfError("diversity", `diversity=${diversity}: must be 0..1`);
  if (!PLACEMENTS.includes(placement)) {
    throw new ShelfError("placement", `placement: no such one; must be one of ${PLACEMENTS.join(", ")}`);
  }
  const hidden = new Uint8Array(catalogue.nItems);
  for (let item = 0; item < hidden.length; item++) hidden[item] = 1 - catalogue.available[item];
  const exclude = asked.exclude ?? [], unseen = asked.unseen || placement === "new-for-you";
  for (const id of exclude) hidden[catalogue.index.get(id) ?? -1] = 1;
  if (unseen) for (const item of history.item) hidden[item] = 1;
  if (asked.filter !== undefined && asked.filter !== null) {
    const matches = parseFilter(catalogue, asked.filter);
    for (let item = 0; item < hidden.length; item++) if (!hidden[item] && !matches(item)) hidden[item] = 1;
  }
  const { scores, personal, why } = scored(catalogue, history, placement, { ...asked, unseen, now }, hidden);
  let items = best(scores, diversity ? Math.max(topK, Math.min(Math.max(5 * topK, 100), 2000)) : topK, hidden);
  if (diversity) {
    const rows = rowsOf(catalogue, items, { start: 0, width: catalogue.dim });
    const order = diversify(Array.from(items, (item) => scores[item]), rows, topK, diversity);
    items = Int32Array.from(order, (place) => items[place]);
  }
  const reasons = asked.reasons ? why?.(items) ?? Array.from(items, () => POPULAR) : [];
  return {
    items: Array.from(items, (item, place) => ({
      item: catalogue.ids[item],
      score: scores[item],
      title: catalogue.titles[item],
      category: catalogue.categories[item],
      price: catalogue.prices[item],
      reason: reasons[place] ?? null,
    })),
    bundleVersion: catalogue.bundleVersion,
    placement,
    fallback: personal ? null : "trend",
    unknownExclude: exclude.filter((id) => !catalogue.index.has(id)),
  };
}

/**
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {string} placement
 * @param {Asked & { now: number }} asked
 * @param {Uint8Array} hidden
 * @returns {Scored}
 */
function scored(catalogue, history, placement, asked, hidden) {
  const trend = { scores: catalogue.trend, personal: false };
  switch (placement) {
    case "trending":
      return trend;
    case "similar":
    case "because-you-viewed": {
      const page = placement === "similar" ? place(catalogue, asked.context) : lastOf(history, [VIEW, CART, PURCHASE]);
      if (page < 0) return trend;
      hidden[page] = 1;
      const direction = new Float32Array(catalogue.taste.width);
      catalogue.row(page, direction, catalogue.taste);
      return near(catalogue, history, asked.now, direction, CONTEXT_WEIGHT, placement !== "similar");
    }
    case "goes-with": {
      const ids = asked.cart ?? (asked.context === undefined ? [] : [asked.context]);
      const cart = [...new Set(ids.map((id) => place(catalogue, id)).filter((item) => item >= 0))].sort((a, b) => a - b);
      if (!cart.length) return trend;
      for (const item of cart) hidden[item] = 1;
      const rows = rowsOf(catalogue, cart, catalogue.taste), ones = new Float32Array(cart.length).fill(1);
      const direction = foldIn(catalogue, rows, ones, () => 1, catalogue.config);
      return near(catalogue, history, asked.now, direction, CART_WEIGHT, true);
    }
    case "recently-viewed": {
      const scores = new Float32Array(catalogue.nItems).fill(NOT_FINITE);
      history.item.forEach((item, j) => (scores[item] = j + 1));
      return { scores, personal: true };
    }
    case "buy-again": {
      const scores = new Float32Array(catalogue.nItems).fill(NOT_FINITE);
      for (const [item, score] of repeatScores(history, asked.now, catalogue.config.repeat_half_life)) scores[item] = score;
      return { scores, personal: true };
    }
    default:
      return history.item.length ? forYou(catalogue, history, asked, hidden) : trend;
  }
}

/**
 * By the mix where the catalogue has one, else by profile, trend and repeat counter.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {Asked & { now: number }} asked
 * @param {Uint8Array} hidden
 * @returns {Scored}
 */
function forYou(catalogue, history, asked, hidden) {
  const repeat = asked.repeat ?? true, { now } = asked;
  if (catalogue.mix) {
    const withMix = /** @type {Catalogue & { mix: Mix }} */ (catalogue);
    const mixed = mixedList(withMix, history, now, asked.unseen ? "new" : "all", repeat, hidden);
    return { scores: mixed.scores, personal: true, why: (listed) => mixedReasons(withMix, history, now, listed, mixed) };
  }
  const scores = plainScores(catalogue, history, now);
  /** @type {Map<number, number>} */
  const bonus = new Map();
  if (repeat) {
    for (const [item, score] of repeatScores(history, now, catalogue.config.repeat_half_life)) {
      bonus.set(item, Math.fround(Math.fround(catalogue.config.repeat_weight) * score));
      scores[item] += bonus.get(item) ?? 0;
    }
  }
  return { scores, personal: true, why: (listed) => plainReasons(catalogue, history, now, listed, bonus) };
}

/**
 * u·v + trend weight · trend, u of taste and intent in their shares.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now
 */
export function plainScores(catalogue, history, now) {
  const { taste, intent } = makeProfile(catalogue, history, now);
  const share = catalogue.intent ? catalogue.config.intent_share : 0;
  const scores = catalogue.scores(taste.map((value) => Math.fround(1 - share) * value), catalogue.taste);
  if (catalogue.intent && intent && share > 0) {
    const more = catalogue.scores(intent.map((value) => Math.fround(share) * value), catalogue.intent);
    for (let item = 0; item < scores.length; item++) scores[item] += more[item];
  }
  return withTrend(catalogue, scores);
}

/**
 * Items near a direction of the taste, with the shopper's profile blended in (recsys/model/fold_in.py).
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Float32Array} direction
 * @param {number} weight
 * @param {boolean} personal
 * @returns {Scored}
 */
function near(catalogue, history, now, direction, weight, personal) {
  const share = catalogue.intent ? catalogue.config.intent_share : 0;
  const none = () => new Float32Array(0);
  const own = personal && history.item.length ? makeProfile(catalogue, history, now) : null;
  const taste = own ? own.taste.map((value) => Math.fround(1 - share) * value) : none();
  const intent = own?.intent && share > 0 ? own.intent.map((value) => Math.fround(share) * value) : none();
  const ours = Math.hypot(...direction) || 0, theirs = Math.hypot(...taste, ...intent);
  const [a, b] = theirs && ours ? [weight / ours, (1 - weight) / theirs] : [ours && 1 / ours, theirs && 1 / theirs];
  const scores = catalogue.scores(direction.map((value, k) => a * value + b * (taste[k] ?? 0)), catalogue.taste);
  if (catalogue.intent && intent.length) {
    const more = catalogue.scores(intent.map((value) => b * value), catalogue.intent);
    for (let item = 0; item < scores.length; item++) scores[item] += more[item];
  }
  return { scores: withTrend(catalogue, scores), personal: personal && !!own };
}

/**
 * @param {Catalogue} catalogue
 * @param {Float32Array} scores
 */
function withTrend({ config, trend }, scores) {
  const weight = Math.fround(config.trend_weight);
  for (let item = 0; item < scores.length; item++) scores[item] += Math.fround(weight * trend[item]);
  return scores;
}

/**
 * @param {Catalogue} catalogue
 * @param {string | undefined} id
 */
function place(catalogue, id) {
  return id === undefined ? -1 : catalogue.index.get(id) ?? -1;
}

/**
 * The last item with which one of these was done, −1 without one.
 * @param {History} history
 * @param {number[]} kinds
 */
function lastOf({ item, kind }, kinds) {
  for (let j = item.length - 1; j >= 0; j--) if (kinds.includes(kind[j])) return item[j];
  return -1;
}
