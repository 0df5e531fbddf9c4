// The profile: a closed form of the shopper's own history (recsys/model/profile.py), computed when it is needed.
import { ShelfError } from "./errors.js";

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./catalogue.js").Config} Config */
/** @typedef {import("./catalogue.js").Columns} Columns */

/** Events that a catalogue knows, oldest first. time: µs since 1970. @typedef {{ item: Int32Array, kind: Uint8Array, time: Float64Array }} History */

export const VIEW = 0, CART = 1, PURCHASE = 2, LIKE = 3, DISLIKE = 4;
export const MICROS_PER_DAY = 86_400_000_000;

/**
 * Weight of each event as of `now`: kind weight × (floor + (1 − floor)·2^(−age / half-life)).
 * @param {History} history
 * @param {number} now µs
 * @param {Config} config
 */
export function eventWeights({ kind, time }, now, config) {
  const n = kind.length, { floor, half_life: halfLife } = config;
  return Float32Array.from(kind, (name, j) => {
    const age = config.half_life_unit === "events" ? n - 1 - j : Math.max(now - time[j], 0) / MICROS_PER_DAY;
    return config.kind_weights[name] * (floor + (1 - floor) * 2 ** (-age / halfLife));
  });
}

/**
 * The system that a fold-in solves, factored: α·G + Σ w v vᵀ + λ(Σw + α·n)·I = L·Lᵀ. All in float64.
 * @param {Catalogue} catalogue
 * @param {Float64Array} rows of the events in the part taste, one after the other
 * @param {Float32Array} weights
 * @param {Config} config
 */
export function system(catalogue, rows, weights, config) {
  const { width } = catalogue.taste, { alpha, reg } = config;
  const A = Float64Array.from(catalogue.gram);
  let total = 0;
  for (let at = 0; at < A.length; at++) A[at] *= alpha;
  for (let j = 0; j < weights.length; j++) {
    const w = weights[j], from = j * width;
    total += w;
    if (w === 0) continue;
    for (let a = 0; a < width; a++) {
      const wa = w * rows[from + a];
      for (let b = 0; b <= a; b++) A[a * width + b] += wa * rows[from + b];
    }
  }
  for (let a = 0; a < width; a++) A[a * width + a] += reg * (total + alpha * catalogue.nItems);
  return cholesky(A, width);
}

/**
 * Solve L·Lᵀ·x = b in place.
 * @param {Float64Array} L lower triangle, n × n
 * @param {Float64Array} b
 */
export function solve(L, b) {
  const n = b.length;
  for (let a = 0; a < n; a++) {
    let sum = b[a];
    for (let k = 0; k < a; k++) sum -= L[a * n + k] * b[k];
    b[a] = sum / L[a * n + a];
  }
  for (let a = n - 1; a >= 0; a--) {
    const x = (b[a] /= L[a * n + a]);
    for (let k = 0; k < a; k++) b[k] -= L[a * n + k] * x;
  }
  return b;
}

/**
 * Rows of some items in one part, in full precision.
 * @param {Catalogue} catalogue
 * @param {ArrayLike<number>} items
 * @param {Columns} part
 */
export function rowsOf(catalogue, items, part) {
  const rows = new Float64Array(items.length * part.width);
  for (let j = 0; j < items.length; j++) catalogue.row(items[j], rows, part, j * part.width);
  return rows;
}

/**
 * The fold-in of some weighed items, float32; zeros for none.
 * @param {Catalogue} catalogue
 * @param {Float64Array} rows
 * @param {Float32Array} weights
 * @param {(j: number) => number} target of each
 * @param {Config} config
 */
export function foldIn(catalogue, rows, weights, target, config) {
  const { width } = catalogue.taste, b = new Float64Array(width);
  if (!weights.length) return new Float32Array(width);
  for (let j = 0; j < weights.length; j++) {
    const signed = weights[j] * target(j);
    for (let k = 0; k < width; k++) b[k] += signed * rows[j * width + k];
  }
  return Float32Array.from(solve(system(catalogue, rows, weights, config), b));
}

/**
 * Taste and intent of a history, each for its own part; intent is null for a table without one.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now µs
 * @param {Config} [config]
 */
export function makeProfile(catalogue, history, now, config = catalogue.config) {
  const rows = rowsOf(catalogue, history.item, catalogue.taste);
  const weights = eventWeights(history, now, config);
  const taste = foldIn(catalogue, rows, weights, (j) => (history.kind[j] === DISLIKE ? -1 : 1), config);
  return { taste, intent: catalogue.intent ? intentQuery(catalogue, rows, history.kind, config) : null };
}

/**
 * What each event asks of the part intent: ρ^age · weight · row, for each pool side by side; summed up.
 * @param {Catalogue} catalogue
 * @param {Float64Array} rows
 * @param {Uint8Array} kind
 * @param {Config} config
 */
function intentQuery(catalogue, rows, kind, config) {
  const { width } = catalogue.taste, query = new Float64Array(config.intent_pools.length * width);
  for (let j = 0; j < kind.length; j++) addEventQuery(query, rows, kind, j, width, config);
  return Float32Array.from(query);
}

/**
 * Add the query of event j.
 * @param {Float64Array} query
 * @param {Float64Array} rows
 * @param {Uint8Array} kind
 * @param {number} j
 * @param {number} width
 * @param {Config} config
 */
export function addEventQuery(query, rows, kind, j, width, config) {
  const weight = config.kind_weights[kind[j]] * (kind[j] === DISLIKE ? -1 : 1) * config.intent_scale;
  config.intent_pools.forEach((pool, p) => {
    const aged = weight * pool ** (kind.length - 1 - j);
    for (let k = 0; k < width; k++) query[p * width + k] += aged * rows[j * width + k];
  });
}

/**
 * The shopper's own purchases: items ascending, and log(1 + decayed count).
 * @param {History} history
 * @param {number} now µs
 * @param {number} halfLife days
 */
export function repeatScores({ item, kind, time }, now, halfLife) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  item.forEach((place, j) => {
    if (kind[j] !== PURCHASE) return;
    const days = Math.max(now - time[j], 0) / MICROS_PER_DAY;
    counts.set(place, (counts.get(place) ?? 0) + 2 ** (-days / halfLife));
  });
  return new Map([...counts].sort(([a], [b]) => a - b).map(([place, n]) => [place, Math.fround(Math.log1p(Math.fround(n)))]));
}

/**
 * @param {Float64Array} A symmetric n × n, of which the lower triangle is read; overwritten
 * @param {number} n
 */
function cholesky(A, n) {
  for (let a = 0; a < n; a++) {
    for (let b = 0; b <= a; b++) {
      let sum = A[a * n + b];
      for (let k = 0; k < b; k++) sum -= A[a * n + k] * A[b * n + k];
      if (a !== b) A[a * n + b] = sum / A[b * n + b];
      else if (sum > 0) A[a * n + a] = Math.sqrt(sum);
      else throw new ShelfError("catalogue", "fold_in: the system is not positive definite");
    }
  }
  return A;
}
