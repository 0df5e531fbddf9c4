// The mix: a device's pool of items, every feature of each, ranked by public weights (recsys/mix/plain_loops.py).
import { best } from "./ranking.js";
import { DISLIKE, MICROS_PER_DAY, PURCHASE, makeProfile } from "./profile.js";

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./catalogue.js").Mix} Mix */
/** @typedef {import("./profile.js").History} History */

const f32 = Math.fround;
const POOL = 50, RECENT = 50, NEAR_HALF_LIFE = 10, CATEGORY_HALF_LIFE = 10, PRICE_BOUND = 2, CATEGORY_TREND = 3;
export const NEXT_HALF_LIFE = 1.5;
const OWN_HALF_LIVES = [2, 20], BOUGHT_HALF_LIVES = [60, 180], BASKETS_HALF_LIFE = 5;
export const OWN = 6, TREND = 12;
const TASTE = 0, INTENT = 2, NEXT = 4, NEAR = 5, CATEGORY = 17, PRICE = 18;
const N_FEATURES = 19;

/** What a shopper is told: the columns of each signal. @type {[string, number, number][]} */
const SIGNALS = [
  ["taste", TASTE, INTENT], ["intent", INTENT, NEXT], ["transition", NEXT, OWN], ["own", OWN, TREND],
  ["trend", TREND, CATEGORY], ["category", CATEGORY, PRICE], ["price", PRICE, N_FEATURES],
];

/** The mix of one device. scores: of all items, the pool's first. */
export class MixedList {
  /**
   * @param {Int32Array} pool items, ascending
   * @param {Float32Array} features of the pool's items, one after the other
   * @param {Float32Array} weights
   * @param {Float32Array} scores
   */
  constructor(pool, features, weights, scores) {
    this.pool = pool;
    this.features = features;
    this.weights = weights;
    this.scores = scores;
  }

  /**
   * What each signal adds to an item's score; they add up to it. Empty for what is in no pool.
   * @param {number} item
   * @returns {Record<string, number>}
   */
  shares(item) {
    const at = lowerBound(this.pool, item) * N_FEATURES;
    if (this.pool[at / N_FEATURES] !== item) return {};
    return Object.fromEntries(SIGNALS.map(([name, from, to]) => {
      let sum = 0;
      for (let f = from; f < to; f++) sum += f32(this.features[at + f] * this.weights[f]);
      return [name, sum];
    }));
  }
}

/**
 * Rank a catalogue that has a mix, for one history at `now` (µs).
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} history
 * @param {number} now
 * @param {"all" | "new"} name whose weights
 * @param {boolean} own whether the signals of the own history count
 * @param {Uint8Array} hidden 1 for what must not be listed
 */
export function mixedList(catalogue, history, now, name, own, hidden) {
  const { nItems, mix } = catalogue, { pool, features } = featuresOf(catalogue, history, now, hidden);
  const weights = Float32Array.from(mix.weights[name]);
  if (!own) weights.fill(0, OWN, TREND);
  const heights = heightsOf(features, weights);
  const lowest = heights.reduce((a, b) => Math.min(a, b), 0);
  const scores = new Float32Array(nItems), { trend } = catalogue;
  for (let item = 0; item < nItems; item++) scores[item] = f32(trend[item] - 2) + lowest;
  pool.forEach((item, place) => (scores[item] = heights[place]));
  return new MixedList(pool, features, weights, scores);
}

/**
 * Features times weights, for each row of features.
 * @param {Float32Array} features
 * @param {ArrayLike<number>} weights
 * @param {number} [from] first feature that counts
 * @param {number} [to] first that counts no more
 */
export function heightsOf(features, weights, from = 0, to = N_FEATURES) {
  const heights = new Float32Array(features.length / N_FEATURES);
  for (let place = 0; place < heights.length; place++) {
    let sum = 0;
    for (let f = from; f < to; f++) sum += features[place * N_FEATURES + f] * weights[f];
    heights[place] = sum;
  }
  return heights;
}

/**
 * The features of one history's pool, or of all items.
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Uint8Array} hidden
 * @param {boolean} [everything]
 */
export function featuresOf(catalogue, history, now, hidden, everything = false) {
  const { nItems, mix } = catalogue;
  const barred = hidden.slice(), pooled = new Uint8Array(nItems);
  for (const item of history.item) barred[item] = 1;
  const spoken = withoutDislikes(history);
  for (const trend of mix.trends) for (const item of best(trend, POOL, barred)) pooled[item] = 1;

  const { taste, intent } = makeProfile(catalogue, history, now);
  const dense = [{ at: TASTE, scores: catalogue.scores(taste, catalogue.taste) }];
  if (intent && catalogue.intent) dense.push({ at: INTENT, scores: catalogue.scores(intent, catalogue.intent) });
  for (const { scores } of dense) poolBest(pooled, scores, barred);
  const soon = asked(mix, spoken, NEXT_HALF_LIFE, nItems), later = asked(mix, spoken, NEAR_HALF_LIFE, nItems);
  poolPulled(pooled, soon, barred);
  poolPulled(pooled, later, barred);
  const near = catalogue.nCategories ? categoryScores(catalogue, spoken) : null;
  if (near) poolPositive(pooled, near, barred);
  const mine = ownFeatures(spoken, now);
  for (const item of mine.keys()) if (!hidden[item]) pooled[item] = 1;

  if (everything) pooled.fill(1);
  const pool = indicesOf(pooled), features = new Float32Array(pool.length * N_FEATURES);
  for (const { at, scores } of dense) {
    const spread = deviation(scores);
    if (!(spread > 0)) continue;
    const unit = f32(0.25 / Math.max(spread, 1e-30)), ranks = ranksAmong(scores, barred, pool);
    pool.forEach((item, place) => {
      features[place * N_FEATURES + at] = f32(scores[item] * unit);
      features[place * N_FEATURES + at + 1] = 4 * Math.log((nItems + 1) / (ranks[place] + 1)) / Math.log(nItems + 1);
    });
  }
  const price = meanLogPrice(catalogue, spoken);
  const means = [soon, later].map(({ values }) => meanOf(values)), meanNear = near ? meanOf(near) : 1;
  pool.forEach((item, place) => {
    const row = features.subarray(place * N_FEATURES, (place + 1) * N_FEATURES);
    row[NEXT] = Math.log1p(soon.values[item] / means[0]) / 2;
    row[NEAR] = Math.log1p(later.values[item] / means[1]) / 2;
    row.set(mine.get(item) ?? [], OWN);
    mix.trends.forEach((trend, t) => (row[TREND + t] = trend[item]));
    if (near) row[CATEGORY] = Math.log1p(near[item] / meanNear) / 2;
    const distance = Math.abs(catalogue.logPrice[item] - price);
    row[PRICE] = distance >= 0 ? -Math.min(distance, PRICE_BOUND) : 0;
  });

  return { pool, features };
}

/**
 * @param {History} history
 * @returns {History}
 */
export function withoutDislikes({ item, kind, time }) {
  const speaks = (/** @type {unknown} */ _, /** @type {number} */ j) => kind[j] !== DISLIKE;
  return { item: item.filter(speaks), kind: kind.filter(speaks), time: time.filter(speaks) };
}

/**
 * Weight of each item among the last events, Σ 2^(−later events / half-life), float32, items ascending.
 * @param {History} spoken
 * @param {number} halfLife
 * @returns {[number, number][]}
 */
export function recent({ item }, halfLife) {
  /** @type {Map<number, number>} */
  const weights = new Map();
  for (let j = Math.max(0, item.length - RECENT); j < item.length; j++) {
    weights.set(item[j], f32((weights.get(item[j]) ?? 0) + f32(2 ** (-(item.length - 1 - j) / halfLife))));
  }
  return [...weights].sort(([a], [b]) => a - b);
}

/**
 * What the last events ask of the items near them.
 * @param {Mix} mix
 * @param {History} spoken
 * @param {number} halfLife
 * @param {number} nItems
 */
function asked(mix, spoken, halfLife, nItems) {
  const values = new Float32Array(nItems);
  /** @type {number[]} */
  const touched = [];
  for (const [item, weight] of recent(spoken, halfLife)) {
    for (let at = mix.start[item]; at < mix.start[item + 1]; at++) {
      const to = mix.near[at];
      if (values[to] === 0) touched.push(to);
      values[to] += f32(weight * mix.pull[at]);
    }
  }
  return { values, touched };
}

/**
 * Pool the POOL best others of a signal, unless all are alike.
 * @param {Uint8Array} pooled
 * @param {Float32Array} scores
 * @param {Uint8Array} barred
 */
function poolBest(pooled, scores, barred) {
  let least = Infinity, most = -Infinity;
  for (let item = 0; item < scores.length; item++) {
    if (barred[item]) continue;
    if (scores[item] < least) least = scores[item];
    if (scores[item] > most) most = scores[item];
  }
  if (!(least < most)) return;
  const chosen = best(scores, POOL, barred);
  const kth = chosen.length < POOL ? -Infinity : scores[chosen[POOL - 1]];
  for (let item = 0; item < scores.length; item++) if (scores[item] >= kth && !barred[item]) pooled[item] = 1;
}

/**
 * @param {Uint8Array} pooled
 * @param {{ values: Float32Array, touched: number[] }} pull
 * @param {Uint8Array} barred
 */
function poolPulled(pooled, { values, touched }, barred) {
  const others = new Float32Array(touched.length);
  touched.forEach((item, at) => (others[at] = barred[item] ? 0 : values[item]));
  const kth = others.sort()[others.length - POOL] ?? 0;
  for (const item of touched) if (!barred[item] && values[item] >= kth && values[item] > 0) pooled[item] = 1;
}

/**
 * @param {Uint8Array} pooled
 * @param {Float32Array} scores
 * @param {Uint8Array} barred
 */
function poolPositive(pooled, scores, barred) {
  const chosen = best(scores, POOL, barred);
  const kth = chosen.length < POOL ? 0 : scores[chosen[POOL - 1]];
  for (let item = 0; item < scores.length; item++) {
    if (scores[item] > 0 && scores[item] >= kth && !barred[item]) pooled[item] = 1;
  }
}

/**
 * Share of each item's category in the recent history × the season's trend; 0 without a category.
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} spoken
 */
function categoryScores({ category, nCategories, nItems, mix }, spoken) {
  const shares = new Float32Array(nCategories), trend = mix.trends[CATEGORY_TREND], scores = new Float32Array(nItems);
  for (const [item, weight] of recent(spoken, CATEGORY_HALF_LIFE)) if (category[item] >= 0) shares[category[item]] += weight;
  const total = f32(Math.max(shares.reduce((a, b) => f32(a + b), 0), 1e-30));
  for (let item = 0; item < nItems; item++) {
    if (category[item] >= 0) scores[item] = f32(shares[category[item]] / total) * trend[item];
  }
  return scores;
}

/**
 * The own counters of each own item: presence, then log(1 + decayed count) in the order of the features.
 * @param {History} spoken
 * @param {number} now
 * @returns {Map<number, number[]>}
 */
function ownFeatures({ item, kind, time }, now) {
  const n = item.length, counters = OWN_HALF_LIVES.length + BOUGHT_HALF_LIVES.length + 1;
  const baskets = new Set(time.filter((_, j) => kind[j] === PURCHASE)).size;
  /** @type {Map<number, number[]>} */
  const counts = new Map();
  let basket = 0, lastTime = NaN;
  for (let j = 0; j < n; j++) {
    const row = counts.get(item[j]) ?? new Array(counters).fill(0);
    counts.set(item[j], row);
    let at = 0;
    for (const halfLife of OWN_HALF_LIVES) row[at++] += 2 ** (-(n - 1 - j) / halfLife);
    if (kind[j] !== PURCHASE) continue;
    if (time[j] !== lastTime) [basket, lastTime] = [basket + 1, time[j]];
    const days = Math.max(now - time[j], 0) / MICROS_PER_DAY;
    for (const halfLife of BOUGHT_HALF_LIVES) row[at++] += 2 ** (-days / halfLife);
    row[at] += 2 ** (-(baskets - basket) / BASKETS_HALF_LIFE);
  }
  for (const [own, row] of counts) counts.set(own, [1, ...row.map(Math.log1p)]);
  return counts;
}

/**
 * Mean log price of the recent history; NaN where it is unknown.
 * @param {Catalogue} catalogue
 * @param {History} spoken
 */
function meanLogPrice({ logPrice }, spoken) {
  let weights = 0, total = 0;
  for (const [item, weight] of recent(spoken, CATEGORY_HALF_LIFE)) {
    if (logPrice[item] !== logPrice[item]) continue;
    weights = f32(weights + weight);
    total = f32(total + f32(weight * logPrice[item]));
  }
  return weights > 0 ? f32(total / weights) : NaN;
}

/**
 * How many others score more than each item of the pool. In one pass: scores fall into buckets of the pool's own.
 * @param {Float32Array} scores
 * @param {Uint8Array} barred
 * @param {Int32Array} pool
 */
function ranksAmong(scores, barred, pool) {
  const sorted = Float32Array.from(pool, (item) => scores[item]).sort(), m = sorted.length;
  if (!m) return pool;
  const low = sorted[0], high = sorted[m - 1], buckets = 4 * m;
  const scale = high > low ? (buckets - 1) / (high - low) : 0;
  const bucketOf = (/** @type {number} */ score) =>
    score <= low ? 0 : score >= high ? buckets - 1 : ((score - low) * scale) | 0;
  const first = new Int32Array(buckets + 1);
  for (const score of sorted) first[bucketOf(score) + 1]++;
  for (let b = 0; b < buckets; b++) first[b + 1] += first[b];
  const above = new Int32Array(m + 1); // others that beat exactly the first j of the sorted
  for (let item = 0; item < scores.length; item++) {
    if (barred[item]) continue;
    const score = scores[item], bucket = bucketOf(score);
    let j = first[bucket];
    while (j < first[bucket + 1] && sorted[j] < score) j++;
    above[j]++;
  }
  for (let j = m - 1; j >= 0; j--) above[j] += above[j + 1];
  return pool.map((item) => above[lowerBound(sorted, scores[item]) + 1]);
}

/**
 * First place whose value is at least that.
 * @param {ArrayLike<number>} sorted
 * @param {number} value
 */
function lowerBound(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** @param {Float32Array} scores */
function deviation(scores) {
  const n = scores.length;
  let total = 0, squares = 0;
  for (let item = 0; item < n; item++) total += scores[item];
  for (let item = 0; item < n; item++) squares += (scores[item] - total / n) ** 2;
  return Math.sqrt(squares / n);
}

/** Mean of the values above 0, 1 without any. @param {Float32Array} values */
function meanOf(values) {
  let total = 0, n = 0;
  for (let at = 0; at < values.length; at++) {
    if (values[at] > 0) {
      total += values[at];
      n++;
    }
  }
  return n ? total / n : 1;
}

/** @param {Uint8Array} marked */
function indicesOf(marked) {
  const items = [];
  for (let item = 0; item < marked.length; item++) if (marked[item]) items.push(item);
  return Int32Array.from(items);
}
