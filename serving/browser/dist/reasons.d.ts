/**
 * One reason for each listed item; null where nothing speaks for it.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Int32Array} listed
 * @param {Map<number, number>} bonus what the repeat counter adds to own items
 * @returns {(Reason | null)[]}
 */
export function plainReasons(catalogue: Catalogue, history: History, now: number, listed: Int32Array, bonus: Map<number, number>): (Reason | null)[];
/**
 * One reason for each listed item of a mix: the signal that adds most, with the event that speaks most.
 * @param {Catalogue & { mix: Mix }} catalogue
 * @param {History} history
 * @param {number} now
 * @param {Int32Array} listed
 * @param {MixedList} mixed
 * @returns {(Reason | null)[]}
 */
export function mixedReasons(catalogue: Catalogue & {
    mix: Mix;
}, history: History, now: number, listed: Int32Array, mixed: MixedList): (Reason | null)[];
/** @type {Reason} */
export const POPULAR: Reason;
export type Catalogue = import("./catalogue.js").Catalogue;
export type Mix = import("./catalogue.js").Mix;
export type History = import("./profile.js").History;
export type MixedList = import("./mix.js").MixedList;
/**
 * The largest of all that speaks for an item. item: of the history, the listed one itself for "repeat", else null.
 * share: of the sum of all positive parts. signals: what each signal of a mix adds.
 */
export type Reason = {
    kind: string;
    item: string | null;
    share: number;
    text: string;
    signals: Record<string, number>;
};
/**
 * What each distinct item of a history adds to the listed items.
 */
export type Contributions = {
    items: number[];
    kinds: number[];
    parts: Float64Array[];
};
