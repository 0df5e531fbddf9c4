// The catalogue of a service: from the browser's cache, brought up to date by a difference where there is one.
import { Catalogue } from "./catalogue.js";
import { ShelfError } from "./errors.js";

/** @typedef {import("./service.js").Service} Service */
/** @typedef {import("./catalogue.js").Change} Change */
/** Changes of a bundle's items up to a sequence of an epoch. @typedef {{ bundle_version: string, epoch: string, sequence: number, changes: Change[] }} Changes */
/** bundle: as it is downloaded; now: with what changed since. @typedef {{ file: Uint8Array<ArrayBuffer>, bundle: Catalogue, changes: Changes | null, now: Catalogue }} Held */

const FILE = "/v1/catalogue/current", CHANGES = "/v1/catalogue/current/changes", SINCE_STEP = 100;

/** Name of the cache of the browser's. */
export const CACHE = "ownshelf";

/**
 * What is in the browser's cache; null without a whole and unbroken file.
 * @param {Service} service
 * @returns {Promise<Held | null>}
 */
export async function heldCatalogue({ address }) {
  try {
    if (!(await caches.has(CACHE))) return null; // opening would make one
    const cache = await caches.open(CACHE), stored = await cache.match(address + FILE);
    if (!stored) return null;
    const file = new Uint8Array(await stored.arrayBuffer()), digest = await sha256(file);
    if (digest !== stored.headers.get("etag")) return null;
    const bundle = new Catalogue(file, digest), kept = await (await cache.match(address + CHANGES))?.json();
    const changes = kept?.bundle_version === bundle.bundleVersion ? kept : null;
    return { file, bundle, changes, now: bundle.withChanges(changes?.changes ?? []) };
  } catch {
    return null;
  }
}

/**
 * The service's current catalogue and its changes. keep: whether the browser's cache may hold them.
 * Throws ShelfError "offline", "service" or "catalogue".
 * @param {Service} service
 * @param {Held | null} held
 * @param {boolean} keep
 * @returns {Promise<Held>}
 */
export async function refreshCatalogue(service, held, keep) {
  const fetched = (await fetchFile(service, held)) ?? held;
  if (!fetched) throw new ShelfError("service", "service: has no catalogue to give");
  const before = fetched.bundle.digest === held?.bundle.digest ? held.changes : null;
  const changes = await fetchChanges(service, fetched.bundle.bundleVersion, before);
  const now = changes ? fetched.bundle.withChanges(changes.changes) : fetched.now;
  const fresh = { ...fetched, changes: changes ?? before, now };
  if (keep) await keepCatalogue(service, fresh);
  return fresh;
}

/**
 * Put a catalogue into the browser's cache. A cache that is full or denied is no error: it is fetched again.
 * @param {Service} service
 * @param {Held} held
 */
export async function keepCatalogue({ address }, { file, bundle, changes }) {
  try {
    const cache = await caches.open(CACHE);
    await cache.put(address + FILE, new Response(file, { headers: { etag: bundle.digest } }));
    await cache.put(address + CHANGES, new Response(JSON.stringify(changes)));
  } catch {
    /* nothing kept */
  }
}

/**
 * @param {Service} service
 * @param {Held | null} held
 * @returns {Promise<Held | null>} null when it is the one held
 */
async function fetchFile(service, held) {
  if (!held) return readFile(await service.send(FILE));
  const headers = { "if-none-match": `"${held.bundle.digest}"` };
  const answer = await service.send(`${FILE}?since=${encodeURIComponent(held.bundle.bundleVersion)}`, { headers });
  if (answer.status === 200 && answer.headers.get("ownshelf-delta-from") === held.bundle.bundleVersion) {
    try {
      const { applyDelta } = await import("./delta.js");
      const whole = await applyDelta(held.file, new Uint8Array(await answer.arrayBuffer()));
      const digest = await sha256(whole);
      if (`"${digest}"` === answer.headers.get("etag")) return heldOf(whole, digest);
    } catch {
      /* a difference that leads nowhere: the whole file then */
    }
    return readFile(await service.send(FILE, { headers }));
  }
  return readFile(answer);
}

/** @param {Response} answer */
async function readFile(answer) {
  if (answer.status === 304) return null;
  if (answer.status !== 200) throw new ShelfError("service", `service: status ${answer.status} instead of a catalogue`);
  const file = new Uint8Array(await answer.arrayBuffer()), digest = await sha256(file);
  if (digest && `"${digest}"` !== answer.headers.get("etag")) {
    throw new ShelfError("catalogue", "catalogue: not the file that its ETag names");
  }
  return heldOf(file, digest);
}

/**
 * @param {Uint8Array<ArrayBuffer>} file
 * @param {string} digest
 * @returns {Held}
 */
function heldOf(file, digest) {
  const bundle = new Catalogue(file, digest);
  return { file, bundle, changes: null, now: bundle };
}

/**
 * @param {Service} service
 * @param {string} version
 * @param {Changes | null} before
 * @returns {Promise<Changes | null>} null where the service cannot say
 */
async function fetchChanges(service, version, before) {
  const since = before ? before.sequence - (before.sequence % SINCE_STEP) : 0; // the question tells no device apart
  const ask = async (/** @type {number} */ from) => {
    const answer = await service.send(`/v1/catalogue/${encodeURIComponent(version)}/changes?since=${from}`);
    if (answer.status === 404) return null;
    if (answer.status !== 200) throw new ShelfError("service", `service: status ${answer.status} instead of changes`);
    /** @type {Changes} */
    const changes = await answer.json();
    if (changes.bundle_version !== version || !Array.isArray(changes.changes)) {
      throw new ShelfError("service", "service: tells changes of another bundle");
    }
    return changes;
  };
  const changes = await ask(since);
  if (!changes || !before) return changes;
  if (changes.epoch !== before.epoch || changes.sequence < before.sequence) return since ? ask(0) : changes;
  const latest = new Map([...before.changes, ...changes.changes].map((change) => [change.item_id, change]));
  return { ...changes, changes: [...latest.values()] };
}

/**
 * SHA-256 (hex); empty where the browser has no cryptography for the page, as over http://.
 * @param {Uint8Array<ArrayBuffer>} file
 */
export async function sha256(file) {
  if (!globalThis.crypto?.subtle) return "";
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", file)), (byte) =>
    byte.toString(16).padStart(2, "0")).join("");
}
