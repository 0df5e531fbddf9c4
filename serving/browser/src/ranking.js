// The one order of a list: the higher score first, of equal scores the lower item.
import { ShelfError } from "./errors.js";

/**
 * The best k of the scores, best first; −∞ is never listed.
 * @param {Float32Array} scores
 * @param {number} k
 * @param {Uint8Array | null} [barred] 1 for what must not be listed
 * @returns {Int32Array} items
 */
export function best(scores, k, barred = null) {
  /** The worst of the best on top. @type {number[]} */
  const heap = [];
  const worse = (/** @type {number} */ a, /** @type {number} */ b) =>
    scores[a] < scores[b] || (scores[a] === scores[b] && a > b);
  for (let item = 0; item < scores.length; item++) {
    const score = scores[item];
    if (barred && barred[item]) continue;
    if (heap.length === k) {
      if (!(score > scores[heap[0]])) {
        if (score !== score) throw new ShelfError("scores", "scores: has NaN, which has no place in a list");
        continue;
      }
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= k) break;
        if (child + 1 < k && worse(heap[child + 1], heap[child])) child++;
        if (!worse(heap[child], item)) break;
        heap[at] = heap[child];
        at = child;
      }
      heap[at] = item;
    } else if (score > -Infinity) {
      let at = heap.length;
      while (at && worse(item, heap[(at - 1) >> 1])) {
        heap[at] = heap[(at - 1) >> 1];
        at = (at - 1) >> 1;
      }
      heap[at] = item;
    } else if (score !== score) throw new ShelfError("scores", "scores: has NaN, which has no place in a list");
  }
  return Int32Array.from(heap.sort((a, b) => scores[b] - scores[a] || a - b));
}

/**
 * Reorder a pool so that what is listed together is less alike: maximal marginal relevance (recsys/lists/diversity.py).
 * @param {number[]} scores of the pool, best first
 * @param {Float64Array} rows of the pool, one after the other
 * @param {number} k
 * @param {number} dial 0..1
 * @returns {number[]} places in the pool
 */
export function diversify(scores, rows, k, dial) {
  const m = scores.length, dim = m ? rows.length / m : 0;
  if (k > m) k = m;
  if (dial === 0 || k < 2) return Array.from({ length: k }, (_, place) => place);
  const mean = scores.reduce((a, b) => a + b, 0) / m;
  const deviation = Math.sqrt(scores.reduce((a, b) => a + (b - mean) ** 2, 0) / m);
  const relevance = scores.map((score) => (deviation > 0 ? ((1 - dial) / 4) * ((score - mean) / deviation) : 0));
  for (let j = 0; j < m; j++) {
    const row = rows.subarray(j * dim, (j + 1) * dim);
    const length = Math.max(Math.hypot(...row), 2 ** -126);
    for (let d = 0; d < dim; d++) row[d] /= length;
  }
  const nearest = new Float64Array(m).fill(-Infinity), chosen = [0];
  while (chosen.length < k) {
    const last = chosen[chosen.length - 1];
    let next = -1, most = -Infinity;
    for (let j = 0; j < m; j++) {
      let cosine = 0;
      for (let d = 0; d < dim; d++) cosine += rows[j * dim + d] * rows[last * dim + d];
      nearest[j] = j === last ? Infinity : Math.max(nearest[j], cosine);
      const marginal = relevance[j] - dial * nearest[j];
      if (marginal > most) [next, most] = [j, marginal];
    }
    chosen.push(next);
  }
  return chosen;
}
