// Where a shopper's history lies: IndexedDB, sealed by a key that no script can read; or this page's memory alone.
// Events are appended, one record each; a lock of the browser orders the tabs; a channel tells them of each other.
import { ShelfError } from "./errors.js";

/** @typedef {import("./history.js").Event} Event */
/** Everything stored but the events. generation: rises when events are removed. @typedef {{ consent?: string, generation: number, [name: string]: unknown }} State */
/** @typedef {{ iv: Uint8Array, sealed: ArrayBuffer }} Sealed */

const EVENTS = "events", STATE = "state", KEYS = "keys";
const COMPACT_AT = 256, PAD = 256;
const encoder = new TextEncoder(), decoder = new TextDecoder();

/** The same calls as SealedStore, kept by nobody. */
export class MemoryStore {
  durable = false;
  /** @type {State} */ #state = { generation: 0 };

  /** @returns {Promise<{ state: State, events: Event[], whole: boolean }>} */
  async read() {
    return { state: this.#state, events: [], whole: false };
  }

  /** @param {Event[]} _ */
  async append(_) {
    return true;
  }

  /** @param {(state: State) => State} change */
  async change(change) {
    return (this.#state = change(this.#state));
  }

  /** @param {(event: Event) => boolean} _ */
  async remove(_) {}

  async erase() {
    this.#state = { generation: 0 };
  }

  close() {}
}

export class SealedStore {
  durable = true;
  /** @type {IDBDatabase} */ #db;
  /** @type {CryptoKey} */ #key;
  #name;
  #last = 0;
  #generation = -1;

  /**
   * @param {string} name
   * @param {IDBDatabase} db
   * @param {CryptoKey} key
   */
  constructor(name, db, key) {
    this.#name = name;
    this.#db = db;
    this.#key = key;
    db.onversionchange = () => db.close();
  }

  /**
   * Open the store of that name; null where there is none and none is to be made. Throws what the browser throws.
   * @param {string} name
   * @param {boolean} create
   */
  static async open(name, create) {
    const request = indexedDB.open(name, 1);
    let absent = false;
    request.onupgradeneeded = () => {
      if (!create) {
        absent = true;
        request.transaction?.abort();
        return;
      }
      for (const store of [EVENTS, STATE, KEYS]) request.result.createObjectStore(store);
    };
    const db = await done(request).catch((error) => {
      if (absent) return null;
      throw error;
    });
    if (!db) return null;
    const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    const transaction = db.transaction(KEYS, "readwrite", { durability: "strict" }), keys = transaction.objectStore(KEYS);
    const key = (await done(keys.get("vault"))) ?? (keys.put(fresh, "vault"), fresh); // one transaction: one key
    await finished(transaction);
    return new SealedStore(name, db, key);
  }

  /**
   * Read what is new since the last reading; `whole` when everything must be taken anew.
   * Throws ShelfError "vault" when a record does not open.
   * @returns {Promise<{ state: State, events: Event[], whole: boolean }>}
   */
  async read() {
    const transaction = this.#db.transaction([EVENTS, STATE]), log = transaction.objectStore(EVENTS);
    const stored = transaction.objectStore(STATE).get("state"), later = IDBKeyRange.lowerBound(this.#last, true);
    const count = log.count(), keys = log.getAllKeys(later), values = log.getAll(later);
    await finished(transaction);
    const state = await this.#stateOf(stored.result);
    if (state.generation !== this.#generation && this.#last) {
      this.#last = 0;
      this.#generation = -1;
      return this.read();
    }
    const whole = this.#generation < 0, events = await this.#opened(keys.result, values.result);
    this.#last = Number(keys.result.at(-1) ?? this.#last);
    this.#generation = state.generation;
    if (count.result > COMPACT_AT) await this.#compact();
    return { state, events, whole };
  }

  /**
   * Add events behind all others; whether there were no others since the last reading, so that none need be read.
   * Throws ShelfError "quota" where there is no room.
   * @param {Event[]} events
   */
  async append(events) {
    return this.#locked(async () => {
      const key = (await this.#lastKey()) + 1;
      const sealed = await this.#seal(events, `event ${key}`);
      await this.#write((stores) => stores(EVENTS).add(sealed, key), "relaxed");
      if (this.#last !== key - 1) return false;
      this.#last = key;
      return true;
    });
  }

  /**
   * Replace the state in one step, no other tab writing meanwhile.
   * @param {(state: State) => State} change
   */
  async change(change) {
    return this.#locked(async () => {
      const state = change(await this.#stateOf(await done(this.#db.transaction(STATE).objectStore(STATE).get("state"))));
      const sealed = await this.#seal(state, "state");
      await this.#write((stores) => stores(STATE).put(sealed, "state"), "strict");
      return state;
    });
  }

  /**
   * Remove events, so that no record holds them any more.
   * @param {(event: Event) => boolean} which
   */
  async remove(which) {
    await this.#locked(async () => {
      const { state, last, events } = await this.#everything();
      const key = last + 1, next = { ...state, generation: state.generation + 1 };
      const [sealed, stored] = await Promise.all([
        this.#seal(events.filter((event) => !which(event)), `event ${key}`), this.#seal(next, "state"),
      ]);
      await this.#write((stores) => {
        stores(EVENTS).clear();
        stores(EVENTS).add(sealed, key);
        stores(STATE).put(stored, "state");
      }, "strict");
    });
  }

  /** Destroy key and content, then the database itself. */
  async erase() {
    await this.#locked(async () => {
      await this.#write((stores) => [KEYS, EVENTS, STATE].forEach((name) => stores(name).clear()), "strict");
    });
    this.#db.close();
    await done(indexedDB.deleteDatabase(this.#name));
  }

  close() {
    this.#db.close();
  }

  /** One record in place of many, under the lock. */
  async #compact() {
    await this.#locked(async () => {
      const { last, events } = await this.#everything();
      const sealed = await this.#seal(events, `event ${last}`);
      await this.#write((stores) => {
        stores(EVENTS).clear();
        stores(EVENTS).add(sealed, last); // its place is the last one's: whoever had read so far has read this
      }, "strict");
    });
  }

  async #everything() {
    const transaction = this.#db.transaction([EVENTS, STATE]), log = transaction.objectStore(EVENTS);
    const stored = transaction.objectStore(STATE).get("state"), keys = log.getAllKeys(), values = log.getAll();
    await finished(transaction);
    return {
      state: await this.#stateOf(stored.result),
      last: Number(keys.result.at(-1) ?? 0),
      events: await this.#opened(keys.result, values.result),
    };
  }

  /**
   * The events of some records, in their order.
   * @param {IDBValidKey[]} keys
   * @param {Sealed[]} values
   * @returns {Promise<Event[]>}
   */
  async #opened(keys, values) {
    return (await Promise.all(values.map((value, at) => this.#unseal(value, `event ${keys[at]}`)))).flat();
  }

  async #lastKey() {
    const cursor = await done(this.#db.transaction(EVENTS).objectStore(EVENTS).openKeyCursor(null, "prev"));
    return Number(cursor?.key ?? 0);
  }

  /** @param {Sealed | undefined} stored @returns {Promise<State>} */
  async #stateOf(stored) {
    return stored ? this.#unseal(stored, "state") : { generation: 0 };
  }

  /**
   * @param {(stores: (name: string) => IDBObjectStore) => unknown} change
   * @param {"strict" | "relaxed"} durability
   */
  async #write(change, durability) {
    try {
      const transaction = this.#db.transaction([EVENTS, STATE, KEYS], "readwrite", { durability });
      change((name) => transaction.objectStore(name));
      await finished(transaction);
    } catch (error) {
      const quota = /** @type {Error} */ (error)?.name === "QuotaExceededError";
      throw new ShelfError(quota ? "quota" : "storage", `storage: ${/** @type {Error} */ (error)?.name ?? "failed"}`);
    }
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #locked(work) {
    return locked(this.#name, work);
  }

  /**
   * Seal a value, its length in steps of PAD bytes, bound to its place.
   * @param {unknown} value
   * @param {string} place
   * @returns {Promise<Sealed>}
   */
  async #seal(value, place) {
    const text = encoder.encode(JSON.stringify(value));
    const padded = new Uint8Array(Math.ceil((text.length + 1) / PAD) * PAD).fill(32); // spaces end a JSON text
    padded.set(text);
    const iv = crypto.getRandomValues(new Uint8Array(12));
    return { iv, sealed: await crypto.subtle.encrypt(bound(iv, place), this.#key, padded) };
  }

  /**
   * @param {Sealed} stored
   * @param {string} place
   */
  async #unseal({ iv, sealed }, place) {
    try {
      return JSON.parse(decoder.decode(await crypto.subtle.decrypt(bound(/** @type {any} */ (iv), place), this.#key, sealed)));
    } catch {
      throw new ShelfError("vault", "storage: a record is not what was sealed; erase() begins anew");
    }
  }
}

/** @type {Map<string, Promise<unknown>>} */
const chains = new Map();

/**
 * Do some work while no other tab does any of that name; without Web Locks, while this page does none.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export function locked(name, work) {
  if (globalThis.navigator?.locks) return /** @type {Promise<any>} */ (navigator.locks.request(`ownshelf ${name}`, work));
  const turn = (chains.get(name) ?? Promise.resolve()).then(work, work);
  chains.set(name, turn.catch(() => {}));
  return turn;
}

/**
 * @param {Uint8Array<ArrayBuffer>} iv
 * @param {string} place
 */
function bound(iv, place) {
  return { name: "AES-GCM", iv, additionalData: encoder.encode(`ownshelf/browser/v1 ${place}`) };
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}
