/**
 * Do some work while no other tab does any of that name; without Web Locks, while this page does none.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export function locked<T>(name: string, work: () => Promise<T>): Promise<T>;
/** The same calls as SealedStore, kept by nobody. */
export class MemoryStore {
    durable: boolean;
    /** @returns {Promise<{ state: State, events: Event[], whole: boolean }>} */
    read(): Promise<{
        state: State;
        events: Event[];
        whole: boolean;
    }>;
    /** @param {Event[]} _ */
    append(_: Event[]): Promise<boolean>;
    /** @param {(state: State) => State} change */
    change(change: (state: State) => State): Promise<State>;
    /** @param {(event: Event) => boolean} _ */
    remove(_: (event: Event) => boolean): Promise<void>;
    erase(): Promise<void>;
    close(): void;
    #private;
}
export class SealedStore {
    /**
     * Open the store of that name; null where there is none and none is to be made. Throws what the browser throws.
     * @param {string} name
     * @param {boolean} create
     */
    static open(name: string, create: boolean): Promise<SealedStore | null>;
    /**
     * @param {string} name
     * @param {IDBDatabase} db
     * @param {CryptoKey} key
     */
    constructor(name: string, db: IDBDatabase, key: CryptoKey);
    durable: boolean;
    /**
     * Read what is new since the last reading; `whole` when everything must be taken anew.
     * Throws ShelfError "vault" when a record does not open.
     * @returns {Promise<{ state: State, events: Event[], whole: boolean }>}
     */
    read(): Promise<{
        state: State;
        events: Event[];
        whole: boolean;
    }>;
    /**
     * Add events behind all others; whether there were no others since the last reading, so that none need be read.
     * Throws ShelfError "quota" where there is no room.
     * @param {Event[]} events
     */
    append(events: Event[]): Promise<boolean>;
    /**
     * Replace the state in one step, no other tab writing meanwhile.
     * @param {(state: State) => State} change
     */
    change(change: (state: State) => State): Promise<State>;
    /**
     * Remove events, so that no record holds them any more.
     * @param {(event: Event) => boolean} which
     */
    remove(which: (event: Event) => boolean): Promise<void>;
    /** Destroy key and content, then the database itself. */
    erase(): Promise<void>;
    close(): void;
    #private;
}
export type Event = import("./history.js").Event;
/**
 * Everything stored but the events. generation: rises when events are removed.
 */
export type State = {
    consent?: string;
    generation: number;
    [name: string]: unknown;
};
export type Sealed = {
    iv: Uint8Array;
    sealed: ArrayBuffer;
};
