// The public items that lists are made of: rows of one byte a coordinate, trends, transitions, titles and prices.
import { ShelfError } from "./errors.js";
import { readTensors } from "./tensors.js";

const FEATURES = 19;
const HALF_LIVES = 5;

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
  /** The number of items, those that came after the bundle included. */
  nItems = 0;
  /** Items of the bundle, whose rows are int8; rows of later ones are in `fresh`. */
  nBundle = 0;
  dim = 0;
  bundleVersion = "";
  name = "";
  /** SHA-256 (hex) of the file. */
  digest = "";
  /** @type {Config} */ config;
  /** How a device that takes part in training weighs its history. @type {Config} */ training;
  /** @type {Int8Array} */ rows;
  /** @type {Float32Array} */ scale;
  /** @type {Float32Array} */ fresh = new Float32Array(0);
  /** @type {Float32Array} */ trend;
  /** Of the part `taste`, (width, width); of the bundle's items alone, and of all. @type {Float32Array} */ bundleGram;
  /** @type {Float32Array} */ gram;
  /** @type {Columns} */ taste;
  /** @type {Columns | null} */ intent = null;
  /** How the part `intent` is learned. @type {Record<string, number> | null} */ learned = null;
  /** @type {Mix | null} */ mix = null;
  /** @type {string[]} */ ids;
  /** @type {(string | null)[]} */ titles;
  /** @type {(string | null)[]} */ categories;
  /** @type {(number | null)[]} */ prices;
  /** 1 where an item may be listed. @type {Uint8Array} */ available;
  /** Number of each item's category, −1 without one. @type {Int32Array} */ category = new Int32Array(0);
  nCategories = 0;
  /** Natural logarithm, NaN without a price above 0. @type {Float32Array} */ logPrice = new Float32Array(0);
  /** @type {Map<string, number>} */ index = new Map();

  /**
   * Read a downloaded file. Throws ShelfError "catalogue" for what is none.
   * @param {Uint8Array} file
   * @param {string} [digest] SHA-256 (hex) of it
   */
  constructor(file, digest = "") {
    const { tensors, shapes, texts } = readTensors(file);
    try {
      const items = JSON.parse(texts.items);
      [this.nBundle, this.dim] = shapes.item_embeddings;
      this.nItems = this.nBundle;
      this.digest = digest;
      this.bundleVersion = texts.bundle_version;
      this.name = texts.name;
      this.config = readConfig(texts.config);
      this.training = readConfig(texts.training);
      this.rows = as(Int8Array, tensors.item_embeddings);
      this.scale = as(Float32Array, tensors.scale, this.nBundle);
      this.trend = as(Float32Array, tensors.trend, this.nBundle);
      const parts = partsOf(JSON.parse(texts.parts), this.dim);
      this.taste = parts.taste;
      this.gram = this.bundleGram = as(Float32Array, tensors.gram, this.taste.width ** 2);
      const pools = this.config.intent_pools.length;
      if (parts.intent && pools) {
        check(parts.intent.width === pools * this.taste.width, "parts");
        this.intent = parts.intent;
      }
      if (texts.intent) this.learned = JSON.parse(texts.intent);
      this.ids = items.item_id;
      this.titles = items.title;
      this.categories = items.category;
      this.prices = items.price;
      check(texts.format === "1" && [this.ids, this.titles, this.categories, this.prices, items.available]
        .every((column) => column.length === this.nItems), "items");
      this.available = Uint8Array.from(items.available, (/** @type {unknown} */ yes) => (yes === false ? 0 : 1));
      if (texts.mix) this.mix = readMix(JSON.parse(texts.mix), tensors, this.nItems);
    } catch (error) {
      throw error instanceof ShelfError ? error : new ShelfError("catalogue", `catalogue: not a catalogue file (${error})`);
    }
    describe(this);
  }

  /**
   * Write the row of an item in full precision into `out`, dim numbers.
   * @param {number} item
   * @param {Float32Array | Float64Array} out
   * @param {Columns} part
   * @param {number} [at] where in out
   */
  row(item, out, part, at = 0) {
    const { start, width } = part;
    if (item < this.nBundle) {
      const from = item * this.dim + start, scale = this.scale[item];
      for (let k = 0; k < width; k++) out[at + k] = Math.fround(this.rows[from + k] * scale);
    } else {
      const from = (item - this.nBundle) * this.dim + start;
      for (let k = 0; k < width; k++) out[at + k] = this.fresh[from + k];
    }
  }

  /**
   * Inner products of a vector with every item's row in one part, float32 of a sum in float64.
   * @param {ArrayLike<number>} vector width numbers
   * @param {Columns} part
   */
  scores(vector, { start, width }) {
    const { rows, scale, dim, nBundle, nItems, fresh } = this;
    const out = new Float32Array(nItems), q = new Float64Array(vector);
    const even = width - (width % 4);
    for (let item = 0, from = start; item < nBundle; item++, from += dim) {
      let a = 0, b = 0, c = 0, d = 0, k = 0;
      for (; k < even; k += 4) {
        a += q[k] * rows[from + k];
        b += q[k + 1] * rows[from + k + 1];
        c += q[k + 2] * rows[from + k + 2];
        d += q[k + 3] * rows[from + k + 3];
      }
      for (; k < width; k++) a += q[k] * rows[from + k];
      out[item] = (a + b + (c + d)) * scale[item];
    }
    for (let item = nBundle; item < nItems; item++) {
      const from = (item - nBundle) * dim + start;
      let sum = 0;
      for (let k = 0; k < width; k++) sum += q[k] * fresh[from + k];
      out[item] = sum;
    }
    return out;
  }

  /**
   * The catalogue with what changed about its items since; this one stays as it is.
   * A deleted item keeps its place and is not available. Throws ShelfError for a new item without a row.
   * @param {Change[]} changes
   * @returns {Catalogue}
   */
  withChanges(changes) {
    if (!changes.length) return this;
    /** @type {Catalogue} */
    const next = Object.assign(Object.create(Catalogue.prototype), this);
    for (const column of /** @type {const} */ (["ids", "titles", "categories", "prices"])) {
      /** @type {any} */ (next)[column] = [...this[column]];
    }
    next.index = new Map(this.index);
    const available = Array.from(this.available), trend = Array.from(this.trend), fresh = [...this.fresh];
    for (const { item_id: id, fields, row } of changes) {
      let place = next.index.get(id);
      if (place === undefined) {
        next.index.set(id, place = next.ids.length);
        next.ids.push(id);
        trend.push(0);
      }
      next.titles[place] = fields?.title ?? null;
      next.categories[place] = fields?.category ?? null;
      next.prices[place] = fields?.price ?? null;
      available[place] = fields && fields.available !== false ? 1 : 0;
      if (place >= this.nBundle) {
        const vector = fields ? floats(row) : new Float32Array(this.dim);
        if (vector.length !== this.dim) throw new ShelfError("catalogue", "changes: a new item has no row");
        fresh.splice((place - this.nBundle) * this.dim, this.dim, ...vector);
      }
    }
    next.nItems = next.ids.length;
    next.available = Uint8Array.from(available);
    next.trend = Float32Array.from(trend);
    next.fresh = Float32Array.from(fresh);
    next.gram = grownGram(next);
    if (this.mix) next.mix = grownMix(this.mix, next.nItems);
    describe(next);
    return next;
  }
}

/**
 * The bundle's Gram matrix and the later items' share of it.
 * @param {Catalogue} catalogue
 */
function grownGram({ taste: { start, width }, bundleGram, fresh, dim }) {
  const gram = Float64Array.from(bundleGram);
  for (let at = start; at < fresh.length; at += dim) {
    for (let a = 0; a < width; a++) {
      for (let b = 0; b < width; b++) gram[a * width + b] += fresh[at + a] * fresh[at + b];
    }
  }
  return Float32Array.from(gram);
}

/**
 * Index the ids, number the categories, take the logarithms of prices.
 * @param {Catalogue} catalogue
 */
function describe(catalogue) {
  catalogue.index = new Map(catalogue.ids.map((id, place) => [id, place]));
  check(catalogue.index.size === catalogue.ids.length, "item_id");
  /** @type {Map<string, number>} */
  const numbers = new Map();
  catalogue.category = Int32Array.from(catalogue.categories, (name) => {
    if (name === null) return -1;
    if (!numbers.has(name)) numbers.set(name, numbers.size);
    return numbers.get(name) ?? -1;
  });
  catalogue.nCategories = numbers.size;
  catalogue.logPrice = Float32Array.from(catalogue.prices, (price) =>
    price !== null && price > 0 ? Math.log(price) : NaN);
}

/**
 * Little-endian float32 numbers of a base64 text.
 * @param {string | null} text
 */
export function floats(text) {
  const bytes = Uint8Array.from(atob(text ?? ""), (letter) => letter.charCodeAt(0));
  return bytes.length % 4 ? new Float32Array(0) : new Float32Array(bytes.buffer);
}

/**
 * @param {string} text
 * @returns {Config}
 */
function readConfig(text) {
  const config = JSON.parse(text);
  for (const name of ["half_life", "repeat_half_life"]) if (config[name] === "inf") config[name] = Infinity;
  check(config.kind_weights.length === 5, "config");
  return config;
}

/**
 * @param {[string, number][]} parts
 * @param {number} dim
 * @returns {{ taste: Columns, intent?: Columns }}
 */
function partsOf(parts, dim) {
  let start = 0;
  /** @type {any} */
  const columns = {};
  for (const [name, width] of parts) {
    columns[name] = { start, width };
    start += width;
  }
  check(start === dim && columns.taste, "parts");
  return columns;
}

/**
 * @param {any} settings
 * @param {Record<string, any>} tensors
 * @param {number} nItems
 * @returns {Mix}
 */
function readMix(settings, tensors, nItems) {
  const { mix_transition_count: count, mix_transition_scale: scale, mix_transition_item: near } = tensors;
  const steps = tensors.mix_transition_weight, levels = tensors.mix_trends;
  check(settings.features.length === FEATURES && settings.features[0] === "taste", "mix.features");
  check(settings.weights.all.length === FEATURES && settings.weights.new.length === FEATURES, "mix.weights");
  check(count.length === nItems && levels.length === HALF_LIVES * nItems && near.length === steps.length, "mix");
  const start = new Int32Array(nItems + 1), pull = new Float32Array(steps.length);
  for (let item = 0; item < nItems; item++) {
    start[item + 1] = start[item] + count[item];
    for (let at = start[item]; at < start[item + 1]; at++) {
      pull[at] = steps[at] * scale[item];
      check(near[at] >= 0 && near[at] < nItems, "mix.transitions");
    }
  }
  check(start[nItems] === near.length, "mix.transitions");
  const trends = Array.from({ length: HALF_LIVES }, (_, row) =>
    Float32Array.from(levels.subarray(row * nItems, (row + 1) * nItems), (step) => step * tensors.mix_trend_scale[row]));
  return { weights: settings.weights, start, near, pull, trends };
}

/**
 * Nothing is known of what comes near new items.
 * @param {Mix} mix
 * @param {number} nItems
 * @returns {Mix}
 */
function grownMix(mix, nItems) {
  const n = mix.start.length - 1, start = new Int32Array(nItems + 1).fill(mix.start[n]);
  start.set(mix.start);
  const trends = mix.trends.map((row) => {
    const longer = new Float32Array(nItems);
    longer.set(row);
    return longer;
  });
  return { ...mix, start, trends };
}

/**
 * @template {import("./tensors.js").Tensor} T
 * @param {new (...args: any[]) => T} kind
 * @param {unknown} tensor
 * @param {number} [length]
 * @returns {T}
 */
function as(kind, tensor, length) {
  check(tensor instanceof kind && (length === undefined || tensor.length === length), kind.name);
  return /** @type {T} */ (tensor);
}

/**
 * @param {unknown} good
 * @param {string} what
 */
function check(good, what) {
  if (!good) throw new ShelfError("catalogue", `catalogue: ${what} do not fit`);
}
