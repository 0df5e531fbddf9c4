/**
 * Rank a catalogue that has a mix, for one history at `now` (µs).
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} history
 * @param {number} now
 * @param {"all" | "new"} name whose weights
 * @param {boolean} own whether the signals of the own history count
 * @param {Uint8Array} hidden 1 for what must not be listed
 */
export function mixedList(catalogue: Catalogue & {
    mix: Mix;
}, history: History, now: number, name: "all" | "new", own: boolean, hidden: Uint8Array): MixedList;
/**
 * Features times weights, for each row of features.
 * @param {Float32Array} features
 * @param {ArrayLike<number>} weights
 * @param {number} [from] first feature that counts
 * @param {number} [to] first that counts no more
 */
export function heightsOf(features: Float32Array, weights: ArrayLike<number>, from?: number, to?: number): Float32Array<ArrayBuffer>;
/**
 * The features of one history's pool, or of all items.
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Uint8Array} hidden
 * @param {boolean} [everything]
 */
export function featuresOf(catalogue: Catalogue & {
    mix: Mix;
}, history: History, now: number, hidden: Uint8Array, everything?: boolean): {
    pool: Int32Array<ArrayBuffer>;
    features: Float32Array<ArrayBuffer>;
};
/**
 * @param {History} history
 * @returns {History}
 */
export function withoutDislikes({ item, kind, time }: History): History;
/**
 * Weight of each item among the last events, Σ 2^(−later events / half-life), float32, items ascending.
 * @param {History} spoken
 * @param {number} halfLife
 * @returns {[number, number][]}
 */
export function recent({ item }: History, halfLife: number): [number, number][];
export const NEXT_HALF_LIFE: 1.5;
export const OWN: 6;
export const TREND: 12;
/** The mix of one device. scores: of all items, the pool's first. */
export class MixedList {
    /**
     * @param {Int32Array} pool items, ascending
     * @param {Float32Array} features of the pool's items, one after the other
     * @param {Float32Array} weights
     * @param {Float32Array} scores
     */
    constructor(pool: Int32Array, features: Float32Array, weights: Float32Array, scores: Float32Array);
    pool: Int32Array<ArrayBufferLike>;
    features: Float32Array<ArrayBufferLike>;
    weights: Float32Array<ArrayBufferLike>;
    scores: Float32Array<ArrayBufferLike>;
    /**
     * What each signal adds to an item's score; they add up to it. Empty for what is in no pool.
     * @param {number} item
     * @returns {Record<string, number>}
     */
    shares(item: number): Record<string, number>;
}
export type Catalogue = import("./catalogue.js").Catalogue;
export type Mix = import("./catalogue.js").Mix;
export type History = import("./profile.js").History;
