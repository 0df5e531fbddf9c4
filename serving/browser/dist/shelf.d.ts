/** What `open` gives. All of it runs in the page; docs/browser.md has the calls in order. */
export class Shelf {
    /**
     * Open the store, take what the browser has of the catalogue, begin to fetch the rest.
     * @param {Options} options
     */
    static open(options: Options): Promise<Shelf>;
    /** @param {Options} options */
    constructor(options: Options);
    /** @returns {Consent} */
    get consent(): Consent;
    /** Where the history is: "sealed" in this browser, or in the "memory" of this page. */
    get storage(): "sealed" | "memory";
    /** The items at hand; null before the first have come. */
    get catalogue(): import("./catalogue.js").Catalogue | null;
    /**
     * Record what the shopper did; the next list knows it.
     * @param {{ item: string, kind?: string, time?: number | Date, quantity?: number }} observed
     * @returns {Promise<Observed>}
     */
    observe(observed: {
        item: string;
        kind?: string;
        time?: number | Date;
        quantity?: number;
    }): Promise<Observed>;
    /**
     * Make a list in this page; nothing is sent. Waits for the first catalogue.
     * Throws ShelfError: a code of what was asked wrongly, or "offline" without a catalogue.
     * @param {string} [placement]
     * @param {Asked} [asked]
     * @returns {Promise<Recommendations>}
     */
    recommend(placement?: string, asked?: Asked): Promise<Recommendations>;
    /**
     * Re-order the shop's own list, of a search or a category, in this page; nothing is sent.
     * @param {string[]} items in the shop's order
     * @param {import("./rank.js").RankAsked} [asked]
     */
    rank(items: string[], asked?: import("./rank.js").RankAsked): Promise<import("./rank.js").Ranked>;
    /** Fetch what is new of the catalogue; whether there was anything. Throws ShelfError "offline" or another. */
    refresh(): Promise<boolean>;
    /** What is known of the shopper, for the shopper's own eyes. */
    profile(): Promise<{
        consent: import("./shopper.js").Consent;
        storage: string;
        events: number;
        recent: {
            time: number;
            item: string;
            kind: string;
        }[];
        categories: {
            category: string;
            share: number;
        }[];
        sent: import("./service.js").Sent[];
        account: {} | null;
    }>;
    /**
     * Take part in training with one report, if the shopper agreed; what it costs is in the ledger before it is sent.
     * Throws ShelfError "terms" without terms and token, "storage" where no ledger can be kept, "task" for a task that is
     * other than agreed.
     * @param {import("./contribute.js").Timing} [timing]
     * @returns {Promise<import("./contribute.js").Outcome>}
     */
    contribute(timing?: import("./contribute.js").Timing): Promise<import("./contribute.js").Outcome>;
    /** The history as JSON, for another device of the same shopper; `ownshelf device` reads it too. */
    export(): Promise<string>;
    /**
     * Merge an export; an event that is known already is not added again. Returns how many were.
     * @param {string} exported
     */
    import(exported: string): Promise<number>;
    /**
     * Remove every event of an item; returns how many.
     * @param {string} item
     */
    forget(item: string): Promise<number>;
    /**
     * Take back the last event of a kind with an item, as a refund does; whether there was one.
     * @param {string} item
     * @param {string} kind
     */
    retract(item: string, kind: string): Promise<boolean>;
    /** Destroy the key, the history and the cached catalogue, in all tabs. Consent is "nothing" then. */
    erase(): Promise<void>;
    /**
     * The shopper's choice. From "observe" on, what the page remembers is kept; less than that erases nothing that is.
     * @param {Consent} consent
     */
    setConsent(consent: Consent): Promise<void>;
    /**
     * Be told of something. Returns what ends it.
     * @param {EventName} name
     * @param {(detail: unknown) => void} listener
     */
    on(name: EventName, listener: (detail: unknown) => void): () => undefined;
    /** Let go of store and channel. */
    close(): void;
    #private;
}
export type Event = import("./history.js").Event;
export type Asked = import("./lists.js").Asked;
export type Recommendations = import("./lists.js").Recommendations;
export type Catalogue = import("./catalogue.js").Catalogue;
export type Held = import("./download.js").Held;
export type State = import("./store.js").State;
export type Consent = import("./shopper.js").Consent;
export type EventName = import("./shopper.js").EventName;
export type Options = import("./shopper.js").Options;
export type Observed = {
    recorded: boolean;
    durable: boolean;
    inCatalogue: boolean | null;
};
