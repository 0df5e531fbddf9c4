/**
 * The best k of the scores, best first; −∞ is never listed.
 * @param {Float32Array} scores
 * @param {number} k
 * @param {Uint8Array | null} [barred] 1 for what must not be listed
 * @returns {Int32Array} items
 */
export function best(scores: Float32Array, k: number, barred?: Uint8Array | null): Int32Array;
/**
 * Reorder a pool so that what is listed together is less alike: maximal marginal relevance (recsys/lists/diversity.py).
 * @param {number[]} scores of the pool, best first
 * @param {Float64Array} rows of the pool, one after the other
 * @param {number} k
 * @param {number} dial 0..1
 * @returns {number[]} places in the pool
 */
export function diversify(scores: number[], rows: Float64Array, k: number, dial: number): number[];
