/**
 * Little-endian float32 numbers of a base64 text.
 * @param {string | null} text
 */
export function floats(text: string | null): Float32Array<ArrayBuffer>;
/**
 * How a history becomes a profile and a score.
 * @typedef {object} Config
 * @property {number} alpha
 * @property {number} reg
 * @property {number} half_life
 * @property {"days" | "events"} half_life_unit
 * @property {number} floor
 * @property {number[]} kind_weights
 * @property {number} trend_weight
 * @property {number} repeat_weight
 * @property {number} repeat_half_life
 * @property {number[]} intent_pools
 * @property {number} intent_scale
 * @property {number} intent_share
 */
/**
 * The learned mix of signals (docs/mix.md). start: first neighbour of each item, one entry more than items.
 * @typedef {object} Mix
 * @property {{ all: number[], new: number[] }} weights
 * @property {Int32Array} start
 * @property {Uint16Array | Int32Array} near
 * @property {Float32Array} pull
 * @property {Float32Array[]} trends
 */
/**
 * One item as it is now; `fields` is null once it is deleted, `row` null for an item that the bundle knows.
 * @typedef {object} Change
 * @property {string} item_id
 * @property {{ title: string | null, category: string | null, price: number | null, available: boolean | null } | null} fields
 * @property {string | null} row
 */
/** A column of 0, …, n − 1 for the parts of a row. @typedef {{ start: number, width: number }} Columns */
export class Catalogue {
    /**
     * Read a downloaded file. Throws ShelfError "catalogue" for what is none.
     * @param {Uint8Array} file
     * @param {string} [digest] SHA-256 (hex) of it
     */
    constructor(file: Uint8Array, digest?: string);
    /** The number of items, those that came after the bundle included. */
    nItems: number;
    /** Items of the bundle, whose rows are int8; rows of later ones are in `fresh`. */
    nBundle: number;
    dim: number;
    bundleVersion: string;
    name: string;
    /** SHA-256 (hex) of the file. */
    digest: string;
    /** @type {Config} */ config: Config;
    /** How a device that takes part in training weighs its history. @type {Config} */ training: Config;
    /** @type {Int8Array} */ rows: Int8Array;
    /** @type {Float32Array} */ scale: Float32Array;
    /** @type {Float32Array} */ fresh: Float32Array;
    /** @type {Float32Array} */ trend: Float32Array;
    /** Of the part `taste`, (width, width); of the bundle's items alone, and of all. @type {Float32Array} */ bundleGram: Float32Array;
    /** @type {Float32Array} */ gram: Float32Array;
    /** @type {Columns} */ taste: Columns;
    /** @type {Columns | null} */ intent: Columns | null;
    /** How the part `intent` is learned. @type {Record<string, number> | null} */ learned: Record<string, number> | null;
    /** @type {Mix | null} */ mix: Mix | null;
    /** @type {string[]} */ ids: string[];
    /** @type {(string | null)[]} */ titles: (string | null)[];
    /** @type {(string | null)[]} */ categories: (string | null)[];
    /** @type {(number | null)[]} */ prices: (number | null)[];
    /** 1 where an item may be listed. @type {Uint8Array} */ available: Uint8Array;
    /** Number of each item's category, −1 without one. @type {Int32Array} */ category: Int32Array;
    nCategories: number;
    /** Natural logarithm, NaN without a price above 0. @type {Float32Array} */ logPrice: Float32Array;
    /** @type {Map<string, number>} */ index: Map<string, number>;
    /**
     * Write the row of an item in full precision into `out`, dim numbers.
     * @param {number} item
     * @param {Float32Array | Float64Array} out
     * @param {Columns} part
     * @param {number} [at] where in out
     */
    row(item: number, out: Float32Array | Float64Array, part: Columns, at?: number): void;
    /**
     * Inner products of a vector with every item's row in one part, float32 of a sum in float64.
     * @param {ArrayLike<number>} vector width numbers
     * @param {Columns} part
     */
    scores(vector: ArrayLike<number>, { start, width }: Columns): Float32Array<ArrayBuffer>;
    /**
     * The catalogue with what changed about its items since; this one stays as it is.
     * A deleted item keeps its place and is not available. Throws ShelfError for a new item without a row.
     * @param {Change[]} changes
     * @returns {Catalogue}
     */
    withChanges(changes: Change[]): Catalogue;
}
/**
 * How a history becomes a profile and a score.
 */
export type Config = {
    alpha: number;
    reg: number;
    half_life: number;
    half_life_unit: "days" | "events";
    floor: number;
    kind_weights: number[];
    trend_weight: number;
    repeat_weight: number;
    repeat_half_life: number;
    intent_pools: number[];
    intent_scale: number;
    intent_share: number;
};
/**
 * The learned mix of signals (docs/mix.md). start: first neighbour of each item, one entry more than items.
 */
export type Mix = {
    weights: {
        all: number[];
        new: number[];
    };
    start: Int32Array;
    near: Uint16Array | Int32Array;
    pull: Float32Array;
    trends: Float32Array[];
};
/**
 * One item as it is now; `fields` is null once it is deleted, `row` null for an item that the bundle knows.
 */
export type Change = {
    item_id: string;
    fields: {
        title: string | null;
        category: string | null;
        price: number | null;
        available: boolean | null;
    } | null;
    row: string | null;
};
/**
 * A column of 0, …, n − 1 for the parts of a row.
 */
export type Columns = {
    start: number;
    width: number;
};
