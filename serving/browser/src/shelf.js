// A shopper's shelf: it remembers, makes the profile and lists; what it remembers stays in this browser.
import { CACHE, heldCatalogue, keepCatalogue, refreshCatalogue } from "./download.js";
import { ShelfError } from "./errors.js";
import { KINDS, added, decodeEvents, encodeEvents, eventOf, knownTo, missing } from "./history.js";
import { recommend } from "./lists.js";
import { Service } from "./service.js";
import { KEEPING, checkConsent, topCategories, withoutReport } from "./shopper.js";
import { MemoryStore, SealedStore, locked } from "./store.js";

/** @typedef {import("./history.js").Event} Event */
/** @typedef {import("./lists.js").Asked} Asked */
/** @typedef {import("./lists.js").Recommendations} Recommendations */
/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./download.js").Held} Held */
/** @typedef {import("./store.js").State} State */

/** @typedef {import("./shopper.js").Consent} Consent */
/** @typedef {import("./shopper.js").EventName} EventName */
/** @typedef {import("./shopper.js").Options} Options */
/** @typedef {{ recorded: boolean, durable: boolean, inCatalogue: boolean | null }} Observed */

const REFRESH_MS = 10 * 60_000;

/** What `open` gives. All of it runs in the page; docs/browser.md has the calls in order. */
export class Shelf {
  #options;
  #service;
  #name;
  /** @type {SealedStore | MemoryStore} */ #store = new MemoryStore();
  /** @type {State} */ #state = { generation: 0 };
  /** @type {Consent} */ #consent;
  /** Events that the store holds. @type {Event[]} */ #kept = [];
  /** Events that this page alone remembers, or is about to keep. @type {Event[]} */ #fresh = [];
  /** @type {Held | null} */ #held = null;
  /** @type {Promise<unknown> | null} */ #refreshing = null;
  #refreshed = 0;
  /** @type {BroadcastChannel | null} */ #channel = null;
  /** @type {Map<string, Set<(detail: unknown) => void>>} */ #listeners = new Map();
  /** What changes the history does so one after the other. @type {Promise<unknown>} */ #last = Promise.resolve();

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#name = options.name ?? "ownshelf";
    this.#consent = checkConsent(options.consent ?? "session");
    this.#service = new Service(options.endpoint ?? "", options.key);
  }

  /**
   * Open the store, take what the browser has of the catalogue, begin to fetch the rest.
   * @param {Options} options
   */
  static async open(options) {
    const shelf = new Shelf(options);
    const [held] = await Promise.all([heldCatalogue(shelf.#service), shelf.#openStore()]);
    shelf.#held = held;
    shelf.refresh().catch((error) => shelf.#tell("catalogue", error));
    const { dataLayer } = options;
    if (dataLayer) (await import("./data-layer.js")).followDataLayer(shelf, dataLayer);
    return shelf;
  }

  /** @returns {Consent} */
  get consent() {
    return this.#consent;
  }

  /** Where the history is: "sealed" in this browser, or in the "memory" of this page. */
  get storage() {
    return this.#store.durable ? "sealed" : "memory";
  }

  /** The items at hand; null before the first have come. */
  get catalogue() {
    return this.#held?.now ?? null;
  }

  /**
   * Record what the shopper did; the next list knows it.
   * @param {{ item: string, kind?: string, time?: number | Date, quantity?: number }} observed
   * @returns {Promise<Observed>}
   */
  async observe(observed) {
    const event = eventOf(observed);
    if (this.#consent === "nothing") return { recorded: false, durable: false, inCatalogue: null };
    this.#fresh.push(event);
    const inCatalogue = this.catalogue ? this.catalogue.index.has(event[1]) : null;
    await this.#inTurn(() => this.#keep());
    this.#say("history");
    return { recorded: true, durable: !this.#fresh.includes(event), inCatalogue };
  }

  /**
   * Make a list in this page; nothing is sent. Waits for the first catalogue.
   * Throws ShelfError: a code of what was asked wrongly, or "offline" without a catalogue.
   * @param {string} [placement]
   * @param {Asked} [asked]
   * @returns {Promise<Recommendations>}
   */
  async recommend(placement = "for-you", asked = {}) {
    await this.#last;
    if (!this.#held) await this.refresh();
    const catalogue = /** @type {Held} */ (this.#held).now;
    if (Date.now() - this.#refreshed > REFRESH_MS) {
      this.#refreshed = Date.now(); // also where it fails: a service that is away is not asked by every list
      this.refresh().catch(() => {});
    }
    return recommend(catalogue, knownTo(this.#used, catalogue), placement, asked);
  }

  /**
   * Re-order the shop's own list, of a search or a category, in this page; nothing is sent.
   * @param {string[]} items in the shop's order
   * @param {import("./rank.js").RankAsked} [asked]
   */
  async rank(items, asked) {
    await this.#last;
    if (!this.#held) await this.refresh();
    const { rankItems } = await import("./rank.js"), catalogue = /** @type {Held} */ (this.#held).now;
    return rankItems(catalogue, knownTo(this.#used, catalogue), items, asked);
  }

  /** Fetch what is new of the catalogue; whether there was anything. Throws ShelfError "offline" or another. */
  refresh() {
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = null));
    return /** @type {Promise<boolean>} */ (this.#refreshing);
  }

  /** What is known of the shopper, for the shopper's own eyes. */
  async profile() {
    await this.#last;
    const events = this.#used, catalogue = this.catalogue;
    return {
      consent: this.#consent,
      storage: this.storage,
      events: events.length,
      recent: events.slice(-20).reverse().map(([time, item, kind]) => ({ time: time / 1000, item, kind: KINDS[kind] })),
      categories: catalogue ? topCategories(catalogue, events) : [],
      sent: [...this.#service.sent],
      account: this.#state.account ?? null,
    };
  }

  /**
   * Take part in training with one report, if the shopper agreed; what it costs is in the ledger before it is sent.
   * Throws ShelfError "terms" without terms and token, "storage" where no ledger can be kept, "task" for a task that is
   * other than agreed.
   * @param {import("./contribute.js").Timing} [timing]
   * @returns {Promise<import("./contribute.js").Outcome>}
   */
  async contribute(timing) {
    const { terms, token } = this.#options;
    if (!terms || !token) throw new ShelfError("terms", "contribute: open() was given no terms or no token");
    const { contribute, emptyAccount } = await import("./contribute.js");
    const account = (/** @type {State} */ state) =>
      /** @type {import("./contribute.js").Account} */ (state.account ?? emptyAccount());
    return locked(`${this.#name} contribute`, async () => {
      await this.#inTurn(() => this.#read());
      if (!this.#store.durable && this.#consent === "contribute") {
        throw new ShelfError("storage", "contribute: this browser keeps no ledger, so nothing is sent");
      }
      return contribute({
        service: this.#service,
        token,
        account: () => account(this.#state),
        change: (change) => this.#inTurn(async () => {
          this.#state = await this.#store.change((state) => ({ ...state, account: change(account(state)) }));
        }),
        agrees: () => this.#consent === "contribute",
        fetchBundle: async () => {
          await this.refresh();
          return /** @type {Held} */ (this.#held).bundle;
        },
        history: (catalogue) => knownTo(this.#used, catalogue),
      }, terms, timing);
    });
  }

  /** The history as JSON, for another device of the same shopper; `ownshelf device` reads it too. */
  async export() {
    await this.#last;
    return encodeEvents(this.#used);
  }

  /**
   * Merge an export; an event that is known already is not added again. Returns how many were.
   * @param {string} exported
   */
  async import(exported) {
    const theirs = decodeEvents(exported);
    const added = await this.#inTurn(async () => {
      const fresh = this.#consent === "nothing" ? [] : missing(this.#used, theirs);
      this.#fresh.push(...fresh);
      await this.#keep();
      return fresh.length;
    });
    this.#say("history");
    return added;
  }

  /**
   * Remove every event of an item; returns how many.
   * @param {string} item
   */
  async forget(item) {
    const removed = await this.#inTurn(async () => {
      const before = this.#kept.length + this.#fresh.length;
      this.#fresh = this.#fresh.filter((event) => event[1] !== item);
      await this.#store.remove((event) => event[1] === item);
      this.#state = await this.#store.change(withoutReport); // it may have been made of them
      await this.#read();
      return before - this.#kept.length - this.#fresh.length;
    });
    this.#say("history");
    return removed;
  }

  /**
   * Take back the last event of a kind with an item, as a refund does; whether there was one.
   * @param {string} item
   * @param {string} kind
   */
  async retract(item, kind) {
    const number = KINDS.indexOf(kind), taken = await this.#inTurn(async () => {
      const last = [...this.#used].reverse().find((event) => event[1] === item && event[2] === number);
      if (!last) return false;
      this.#fresh = this.#fresh.filter((event) => event !== last);
      let left = Number(this.#kept.includes(last)); // one of those that are equal
      if (left) await this.#store.remove((event) => String(event) === String(last) && left-- > 0);
      await this.#read();
      return true;
    });
    if (taken) this.#say("history");
    return taken;
  }

  /** Destroy the key, the history and the cached catalogue, in all tabs. Consent is "nothing" then. */
  async erase() {
    await this.#inTurn(async () => {
      const store = this.#store;
      this.#forgetAll();
      this.#say("erased");
      await store.erase();
      await globalThis.caches?.delete(CACHE).catch(() => false);
    });
    this.#tell("history", null);
    this.#tell("consent", this.#consent);
  }

  /**
   * The shopper's choice. From "observe" on, what the page remembers is kept; less than that erases nothing that is.
   * @param {Consent} consent
   */
  async setConsent(consent) {
    const wanted = checkConsent(consent);
    await this.#inTurn(async () => {
      if (KEEPING.includes(wanted) && !this.#store.durable) await this.#openStore(true);
      this.#consent = wanted;
      try {
        this.#state = await this.#store.change((state) =>
          ({ ...(wanted === "contribute" ? state : withoutReport(state)), consent: wanted }));
      } catch (error) {
        this.#tell("storage", error);
      }
      await this.#keep();
      if (this.#keeps && this.#held) await keepCatalogue(this.#service, this.#held);
    });
    this.#say("consent");
    this.#tell("history", null);
  }

  /**
   * Be told of something. Returns what ends it.
   * @param {EventName} name
   * @param {(detail: unknown) => void} listener
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Let go of store and channel. */
  close() {
    this.#channel?.close();
    this.#store.close();
  }

  /** Whether events are kept beyond this page. */
  get #keeps() {
    return KEEPING.includes(this.#consent);
  }

  /** The history that lists are made of. */
  get #used() {
    if (this.#consent === "nothing") return [];
    return added(this.#keeps ? this.#kept : [], this.#fresh);
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** Keep what this page alone remembers, where the shopper agreed; what cannot be kept counts in this page all the same. */
  async #keep() {
    const fresh = [...this.#fresh]; // more may come while these are sealed
    if (!this.#keeps || !this.#store.durable || !fresh.length) return;
    try {
      const alone = await this.#store.append(fresh);
      this.#fresh = this.#fresh.filter((event) => !fresh.includes(event));
      if (alone) this.#kept = added(this.#kept, fresh);
      else await this.#read();
    } catch (error) {
      this.#tell("storage", error);
    }
  }

  /** @param {boolean} [create] */
  async #openStore(create = this.#keeps) {
    try {
      const store = await SealedStore.open(this.#name, create);
      if (!store) return;
      this.#store = store;
      await this.#read();
      if (!this.#channel && globalThis.BroadcastChannel) {
        this.#channel = new BroadcastChannel(`ownshelf ${this.#name}`);
        this.#channel.onmessage = ({ data }) => this.#heard(data);
      }
    } catch (error) {
      this.#store.close();
      this.#store = new MemoryStore(); // a private window, a denied or damaged store: this page remembers for itself
      this.#tell("storage", error);
    }
  }

  async #read() {
    const { state, events, whole } = await this.#store.read();
    if (!this.#store.durable) return;
    this.#state = state;
    if (state.consent) this.#consent = /** @type {Consent} */ (state.consent);
    this.#kept = added(whole ? [] : this.#kept, events);
  }

  /** @param {string} said by another tab */
  #heard(said) {
    if (said === "erased") {
      this.#store.close();
      this.#forgetAll();
      this.#tell("history", null);
      this.#tell("consent", this.#consent);
      return;
    }
    this.#inTurn(() => this.#read()).catch((error) => this.#tell("storage", error))
      .then(() => this.#tell(said === "consent" ? "consent" : "history", null));
  }

  #forgetAll() {
    this.#store = new MemoryStore();
    this.#kept = [];
    this.#fresh = [];
    this.#state = { generation: 0 };
    this.#consent = "nothing";
  }

  /** @param {"history" | "consent" | "erased"} what to this tab's listeners and to the other tabs */
  #say(what) {
    this.#channel?.postMessage(what);
    if (what !== "erased") this.#tell(what, null);
  }

  /**
   * @param {EventName} name
   * @param {unknown} detail
   */
  #tell(name, detail) {
    for (const listener of this.#listeners.get(name) ?? []) listener(detail);
  }

  async #refresh() {
    const before = this.#held?.now;
    this.#held = await refreshCatalogue(this.#service, this.#held, this.#keeps);
    this.#refreshed = Date.now();
    const other = this.#held.now !== before && this.#held.changes?.sequence !== 0 || this.#held.bundle.digest !== before?.digest;
    if (other) this.#tell("catalogue", null);
    return other;
  }
}
