/**
 * Weight of each event as of `now`: kind weight × (floor + (1 − floor)·2^(−age / half-life)).
 * @param {History} history
 * @param {number} now µs
 * @param {Config} config
 */
export function eventWeights({ kind, time }: History, now: number, config: Config): Float32Array<ArrayBuffer>;
/**
 * The system that a fold-in solves, factored: α·G + Σ w v vᵀ + λ(Σw + α·n)·I = L·Lᵀ. All in float64.
 * @param {Catalogue} catalogue
 * @param {Float64Array} rows of the events in the part taste, one after the other
 * @param {Float32Array} weights
 * @param {Config} config
 */
export function system(catalogue: Catalogue, rows: Float64Array, weights: Float32Array, config: Config): Float64Array<ArrayBufferLike>;
/**
 * Solve L·Lᵀ·x = b in place.
 * @param {Float64Array} L lower triangle, n × n
 * @param {Float64Array} b
 */
export function solve(L: Float64Array, b: Float64Array): Float64Array<ArrayBufferLike>;
/**
 * Rows of some items in one part, in full precision.
 * @param {Catalogue} catalogue
 * @param {ArrayLike<number>} items
 * @param {Columns} part
 */
export function rowsOf(catalogue: Catalogue, items: ArrayLike<number>, part: Columns): Float64Array<ArrayBuffer>;
/**
 * The fold-in of some weighed items, float32; zeros for none.
 * @param {Catalogue} catalogue
 * @param {Float64Array} rows
 * @param {Float32Array} weights
 * @param {(j: number) => number} target of each
 * @param {Config} config
 */
export function foldIn(catalogue: Catalogue, rows: Float64Array, weights: Float32Array, target: (j: number) => number, config: Config): Float32Array<ArrayBuffer>;
/**
 * Taste and intent of a history, each for its own part; intent is null for a table without one.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now µs
 * @param {Config} [config]
 */
export function makeProfile(catalogue: Catalogue, history: History, now: number, config?: Config): {
    taste: Float32Array<ArrayBuffer>;
    intent: Float32Array<ArrayBuffer> | null;
};
/**
 * Add the query of event j.
 * @param {Float64Array} query
 * @param {Float64Array} rows
 * @param {Uint8Array} kind
 * @param {number} j
 * @param {number} width
 * @param {Config} config
 */
export function addEventQuery(query: Float64Array, rows: Float64Array, kind: Uint8Array, j: number, width: number, config: Config): void;
/**
 * The shopper's own purchases: items ascending, and log(1 + decayed count).
 * @param {History} history
 * @param {number} now µs
 * @param {number} halfLife days
 */
export function repeatScores({ item, kind, time }: History, now: number, halfLife: number): Map<number, number>;
export const VIEW: 0;
export const CART: 1;
export const PURCHASE: 2;
export const LIKE: 3;
export const DISLIKE: 4;
export const MICROS_PER_DAY: 86400000000;
export type Catalogue = import("./catalogue.js").Catalogue;
export type Config = import("./catalogue.js").Config;
export type Columns = import("./catalogue.js").Columns;
/**
 * Events that a catalogue knows, oldest first. time: µs since 1970.
 */
export type History = {
    item: Int32Array;
    kind: Uint8Array;
    time: Float64Array;
};
