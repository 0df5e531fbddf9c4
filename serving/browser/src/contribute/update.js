// What a device has to say in a training round: its history against the shared table, as the parts of the task.
import { DISLIKE, addEventQuery, eventWeights, makeProfile, rowsOf } from "../profile.js";
import { best } from "../ranking.js";
import { refuse } from "./bytes.js";
import { ROWS } from "./plan.js";

/** @typedef {import("../catalogue.js").Catalogue} Catalogue */
/** @typedef {import("../profile.js").History} History */
/** @typedef {import("./task.js").Task} Task */

const METRICS = 4, K = 20;
const INTENT = { alpha: 0.125, decay: 0.85, horizon: 10, moments: 32 };

/**
 * One vector for each part of the task's plan, not yet clipped; zeros from a device without history.
 * @param {Catalogue} catalogue the bundle's own, without what changed since
 * @param {History} history
 * @param {number} now µs
 * @param {Task} task
 * @param {number} block
 * @param {string} trained "taste" or "intent"
 * @param {boolean} measuresOnly a device that only says how well it was served
 * @returns {Record<string, Float64Array>}
 */
export function trainingVectors(catalogue, history, now, task, block, trained, measuresOnly) {
  const columns = trained === "intent" ? catalogue.intent : catalogue.taste, { start, stop } = task.blocks[block];
  const nBlock = task.blocks[0].stop - task.blocks[0].start, held = catalogue.intent ? "intent" : "taste";
  if (!columns || trained !== held || task.blocks[task.blocks.length - 1].stop !== catalogue.nItems) refuse("task: does not fit the table");
  const { width } = /** @type {import("../catalogue.js").Columns} */ (columns);
  const rows = new Float64Array(nBlock * width), counts = new Float64Array(nBlock);
  const second = new Float64Array((width * (width + 1)) / 2), first = new Float64Array(width);
  const metrics = new Float64Array(METRICS), one = new Float64Array(1);
  const figure = lastBasket(catalogue, history);
  if (figure !== null) metrics.set([1, figure], measuresOnly ? 2 : 0);
  if (!measuresOnly && history.item.length) {
    const add = trained === "intent" ? addIntent : addTaste;
    add({ catalogue, history, now, width, start, stop, rows, counts, second, first, one });
  }
  for (const part of task.plan.parts) {
    const mine = { [ROWS[trained]]: rows, counts, second, first, one, metrics }[part.name];
    if (mine?.length !== part.length) refuse(`part ${part.name}: does not fit the table`);
  }
  return { [ROWS[trained]]: rows, counts, second, first, one, metrics };
}

/** @typedef {{ catalogue: Catalogue, history: History, now: number, width: number, start: number, stop: number, rows: Float64Array, counts: Float64Array, second: Float64Array, first: Float64Array, one: Float64Array }} Sums */

/** rows_i = w_i·(u·v_i − p_i)·u, counts_i = w_i. @param {Sums} sums */
function addTaste({ catalogue, history, now, width, start, stop, rows, counts, second, first, one }) {
  const config = catalogue.training, u = Float64Array.from(makeProfile(catalogue, history, now, config).taste);
  const weights = eventWeights(history, now, config);
  /** @type {Map<number, [number, number]>} */
  const merged = new Map();
  history.item.forEach((item, j) => {
    if (!(weights[j] > 0)) return;
    const [weight, signed] = merged.get(item) ?? [0, 0];
    merged.set(item, [weight + weights[j], signed + weights[j] * (history.kind[j] === DISLIKE ? -1 : 1)]);
  });
  const row = new Float64Array(width);
  for (const [item, [weight, signed]] of merged) {
    if (item < start || item >= stop) continue;
    catalogue.row(item, row, catalogue.taste);
    const residual = weight * (dot(u, row) - signed / weight), at = (item - start) * width;
    for (let k = 0; k < width; k++) rows[at + k] = residual * u[k];
    counts[item - start] = weight;
  }
  addOuter(second, u, 1);
  first.set(u);
  one[0] = merged.size ? 1 : 0;
}

/** The same of the last moments' queries, for what came next. @param {Sums} sums */
function addIntent({ catalogue, history, width, start, stop, rows, counts, second, first, one }) {
  const { item, kind } = history, config = catalogue.training, learned = { ...INTENT, ...catalogue.learned }, n = item.length;
  const taste = rowsOf(catalogue, item, catalogue.taste), row = new Float64Array(width);
  const intent = /** @type {import("../catalogue.js").Columns} */ (catalogue.intent);
  const queryOf = (/** @type {number} */ t) => {
    const query = new Float64Array(width);
    for (let j = 0; j < t; j++) addEventQuery(query, taste, kind.subarray(0, t), j, catalogue.taste.width, config);
    return Float64Array.from(Float32Array.from(query));
  };
  for (let t = Math.max(1, n - learned.moments); t < n; t++) {
    /** @type {Map<number, number>} */
    const targets = new Map();
    for (let later = 0; later < learned.horizon && t + later < n; later++) {
      const weight = config.kind_weights[kind[t + later]], next = item[t + later];
      if (kind[t + later] !== DISLIKE && weight > 0 && !targets.has(next)) targets.set(next, weight * learned.decay ** later);
    }
    if (!targets.size) continue;
    const q = queryOf(t), kappa = targets.size ** -0.5;
    addOuter(second, q, kappa);
    for (const [next, weight] of targets) {
      if (next < start || next >= stop) continue;
      catalogue.row(next, row, intent);
      const residual = kappa * weight * (dot(q, row) - 1), at = (next - start) * width;
      for (let k = 0; k < width; k++) rows[at + k] += residual * q[k];
      counts[next - start] += kappa * weight;
    }
  }
  first.set(queryOf(n));
  one[0] = 1;
}

/**
 * NDCG@20 of the last basket under a profile of what came before it; null without one (recsys/evaluation/holdout.py).
 * @param {Catalogue} catalogue
 * @param {History} history
 */
function lastBasket(catalogue, { item, kind, time }) {
  const n = item.length;
  if (n < 2) return null;
  const moment = time[n - 1], first = time[0] === moment ? n - 1 : time.indexOf(moment);
  const basket = new Set(item.subarray(first).filter((_, j) => kind[first + j] !== DISLIKE));
  if (!basket.size) return null;
  const before = { item: item.slice(0, first), kind: kind.slice(0, first), time: time.slice(0, first) };
  const { taste, intent } = makeProfile(catalogue, before, moment, catalogue.training);
  const share = catalogue.intent ? catalogue.training.intent_share : 0;
  const scores = catalogue.scores(taste.map((value) => Math.fround(1 - share) * value), catalogue.taste);
  if (catalogue.intent && intent) {
    const more = catalogue.scores(intent.map((value) => Math.fround(share) * value), catalogue.intent);
    scores.forEach((score, at) => (scores[at] = score + more[at]));
  }
  let gained = 0, ideal = 0;
  best(scores, K).forEach((listed, place) => (gained += basket.has(listed) ? 1 / Math.log2(place + 2) : 0));
  for (let place = 0; place < Math.min(basket.size, K); place++) ideal += 1 / Math.log2(place + 2);
  return gained / ideal;
}

/** @param {Float64Array} triangle upper, row by row @param {Float64Array} u @param {number} weight */
function addOuter(triangle, u, weight) {
  for (let a = 0, at = 0; a < u.length; a++) for (let b = a; b < u.length; b++) triangle[at++] += weight * u[a] * u[b];
}

/** @param {Float64Array} a @param {Float64Array} b */
function dot(a, b) {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}
