/**
 * Check an event. Throws ShelfError "event".
 * @param {{ item: string, kind?: string, time?: number | Date, quantity?: number }} observed time: ms since 1970
 * @returns {Event}
 */
export function eventOf({ item, kind, time, quantity }: {
    item: string;
    kind?: string;
    time?: number | Date;
    quantity?: number;
}): Event;
/**
 * Events in the order of their times; those of one time stay in the order in which they came.
 * @param {Event[]} events
 * @param {Event[]} more
 * @returns {Event[]}
 */
export function added(events: Event[], more: Event[]): Event[];
/**
 * The events of theirs that are not among ours; of events that are equal, as many as there are more of.
 * @param {Event[]} ours
 * @param {Event[]} theirs
 */
export function missing(ours: Event[], theirs: Event[]): Event[];
/**
 * The events whose item a catalogue knows.
 * @param {Event[]} events
 * @param {Catalogue} catalogue
 * @returns {History}
 */
export function knownTo(events: Event[], { index }: Catalogue): History;
/**
 * What an export holds: the JSON of recsys' own devices (federation/device/state.py, encode_events).
 * @param {Event[]} events
 */
export function encodeEvents(events: Event[]): string;
/**
 * Read an export. Throws ShelfError "import" for anything else.
 * @param {string} text
 * @returns {Event[]}
 */
export function decodeEvents(text: string): Event[];
/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./profile.js").History} History */
/** @typedef {[time: number, item: string, kind: number, quantity: number]} Event */
/** @typedef {{ time: number[], item_id: string[], kind: number[], quantity: number[] }} Columns */
export const KINDS: string[];
export type Catalogue = import("./catalogue.js").Catalogue;
export type History = import("./profile.js").History;
export type Event = [time: number, item: string, kind: number, quantity: number];
export type Columns = {
    time: number[];
    item_id: string[];
    kind: number[];
    quantity: number[];
};
