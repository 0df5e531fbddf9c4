// What the shopper did, oldest first: (time in µs since 1970, item, kind, quantity). Pure functions.
import { ShelfError } from "./errors.js";

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./profile.js").History} History */
/** @typedef {[time: number, item: string, kind: number, quantity: number]} Event */
/** @typedef {{ time: number[], item_id: string[], kind: number[], quantity: number[] }} Columns */

export const KINDS = ["view", "cart", "purchase", "like", "dislike"];
const LAST_TIME = 2 ** 53;

/**
 * Check an event. Throws ShelfError "event".
 * @param {{ item: string, kind?: string, time?: number | Date, quantity?: number }} observed time: ms since 1970
 * @returns {Event}
 */
export function eventOf({ item, kind = "view", time = Date.now(), quantity = 1 }) {
  const at = Math.round(Number(time) * 1000), number = KINDS.indexOf(kind);
  if (typeof item !== "string" || !item) throw new ShelfError("event", "item: must be a text that is not empty");
  if (number < 0) throw new ShelfError("event", `kind: must be one of ${KINDS.join(", ")}`);
  if (!(at >= 0 && at < LAST_TIME)) throw new ShelfError("event", "time: must be a time from 1970 to 2255");
  if (!(quantity > 0 && quantity < Infinity)) throw new ShelfError("event", "quantity: must be above 0");
  return [at, item, number, quantity];
}

/**
 * Events in the order of their times; those of one time stay in the order in which they came.
 * @param {Event[]} events
 * @param {Event[]} more
 * @returns {Event[]}
 */
export function added(events, more) {
  return [...events, ...more].sort((a, b) => a[0] - b[0]);
}

/**
 * The events of theirs that are not among ours; of events that are equal, as many as there are more of.
 * @param {Event[]} ours
 * @param {Event[]} theirs
 */
export function missing(ours, theirs) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const event of ours) counts.set(String(event), (counts.get(String(event)) ?? 0) + 1);
  return theirs.filter((event) => {
    const left = counts.get(String(event)) ?? 0;
    counts.set(String(event), left - 1);
    return left <= 0;
  });
}

/**
 * The events whose item a catalogue knows.
 * @param {Event[]} events
 * @param {Catalogue} catalogue
 * @returns {History}
 */
export function knownTo(events, { index }) {
  const known = events.filter(([, item]) => index.has(item));
  return {
    item: Int32Array.from(known, ([, item]) => index.get(item) ?? -1),
    kind: Uint8Array.from(known, ([, , kind]) => kind),
    time: Float64Array.from(known, ([time]) => time),
  };
}

/**
 * What an export holds: the JSON of recsys' own devices (federation/device/state.py, encode_events).
 * @param {Event[]} events
 */
export function encodeEvents(events) {
  const column = (/** @type {0 | 1 | 2 | 3} */ at) => events.map((event) => event[at]);
  return JSON.stringify({
    format: 1,
    events: { time: column(0), item_id: column(1), kind: column(2), quantity: column(3) },
  });
}

/**
 * Read an export. Throws ShelfError "import" for anything else.
 * @param {string} text
 * @returns {Event[]}
 */
export function decodeEvents(text) {
  try {
    const { format, events: { time, item_id: items, kind, quantity } } = JSON.parse(text);
    if (format !== 1) throw new Error(`format ${format}`);
    return time.map((/** @type {number} */ at, /** @type {number} */ j) =>
      eventOf({ item: items[j], kind: KINDS[kind[j]], time: at / 1000, quantity: quantity[j] }));
  } catch (error) {
    throw new ShelfError("import", `import: not an export of a device (${/** @type {Error} */ (error).message})`);
  }
}
