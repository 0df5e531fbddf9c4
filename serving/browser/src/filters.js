// The filter language of docs/api.md, over what a device's catalogue holds. An error names the place, never a value.
import { ShelfError } from "./errors.js";

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {(item: number) => boolean} Matches */

/** @type {Record<string, { kind: "string" | "number" | "boolean", of: (catalogue: Catalogue, item: number) => unknown }>} */
const FIELDS = {
  item_id: { kind: "string", of: ({ ids }, item) => ids[item] },
  category: { kind: "string", of: ({ categories }, item) => categories[item] },
  price: { kind: "number", of: ({ prices }, item) => prices[item] },
  available: { kind: "boolean", of: ({ available }, item) => available[item] === 1 },
};
const WORDS = { string: "text", number: "a finite number", boolean: "true or false" };

/**
 * What a filter lets through. Throws ShelfError "filter" with the place of whatever is wrong.
 * @param {Catalogue} catalogue
 * @param {unknown} filter
 * @param {string} [where]
 * @param {number} [depth]
 * @returns {Matches}
 */
export function parseFilter(catalogue, filter, where = "filter", depth = 1) {
  if (typeof filter !== "object" || filter === null || Array.isArray(filter)) refuse(where, "must be an object");
  if (depth > 8) refuse(where, "must not be nested deeper than 8");
  const parts = Object.entries(filter).map(([name, condition]) => {
    const place = `${where}.${/^[A-Za-z_][\w. -]{0,39}$/.test(name) ? name : "?"}`;
    const inner = (/** @type {unknown} */ part, at = place) => parseFilter(catalogue, part, at, depth + 1);
    if (name === "not") {
      const part = inner(condition);
      return (/** @type {number} */ item) => !part(item);
    }
    if (name === "any" || name === "all") {
      if (!Array.isArray(condition) || !condition.length) refuse(place, "must be a list of at least one filter");
      const all = condition.map((part, at) => inner(part, `${place}[${at}]`));
      return name === "any"
        ? (/** @type {number} */ item) => all.some((part) => part(item))
        : (/** @type {number} */ item) => all.every((part) => part(item));
    }
    return leaf(catalogue, name, condition, place);
  });
  return (item) => parts.every((part) => part(item));
}

/**
 * @param {Catalogue} catalogue
 * @param {string} name
 * @param {any} condition
 * @param {string} where
 * @returns {Matches}
 */
function leaf(catalogue, name, condition, where) {
  if (!Object.hasOwn(FIELDS, name)) refuse(where, `no such field; must be one of ${Object.keys(FIELDS).join(", ")}`);
  const { kind, of } = FIELDS[name];
  const typed = (/** @type {unknown} */ value, /** @type {string} */ place) => {
    if (typeof value !== kind || (kind === "number" && !Number.isFinite(value))) refuse(place, `must be ${WORDS[kind]}`);
    return value;
  };
  if (typeof condition === "object" && condition !== null && !Array.isArray(condition)) {
    const bounds = Object.keys(condition);
    if (kind !== "number") refuse(where, `must be ${WORDS[kind]}, or a list of such values`);
    if (!bounds.length || bounds.some((bound) => bound !== "min" && bound !== "max")) {
      refuse(where, "must have min or max or both, and nothing else");
    }
    for (const bound of bounds) typed(condition[bound], `${where}.${bound}`);
    const { min = -Infinity, max = Infinity } = condition;
    if (min > max) refuse(where, "min must be at most max");
    return (item) => {
      const value = /** @type {number | null} */ (of(catalogue, item));
      return value !== null && min <= value && value <= max;
    };
  }
  const listed = Array.isArray(condition) ? condition : [condition];
  if (listed.length < 1 || listed.length > 1000) refuse(where, "must be 1 to 1000 values");
  const values = new Set(listed.map((value, at) => typed(value, Array.isArray(condition) ? `${where}[${at}]` : where)));
  return (item) => values.has(of(catalogue, item));
}

/**
 * @param {string} where
 * @param {string} what
 * @returns {never}
 */
function refuse(where, what) {
  throw new ShelfError("filter", `${where}: ${what}`);
}
