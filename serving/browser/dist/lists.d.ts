/**
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {string} placement
 * @param {Asked} asked
 * @returns {Recommendations}
 */
export function recommend(catalogue: Catalogue, history: History, placement: string, asked: Asked): Recommendations;
/**
 * u·v + trend weight · trend, u of taste and intent in their shares.
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {number} now
 */
export function plainScores(catalogue: Catalogue, history: History, now: number): Float32Array<ArrayBufferLike>;
export const PLACEMENTS: string[];
export type Catalogue = import("./catalogue.js").Catalogue;
export type Mix = import("./catalogue.js").Mix;
export type History = import("./profile.js").History;
export type Reason = import("./reasons.js").Reason;
/**
 * One item of a list.
 */
export type Listed = {
    item: string;
    score: number;
    title: string | null;
    category: string | null;
    price: number | null;
    reason: Reason | null;
};
/**
 * What a list is asked for. context: the item of a product page. cart: items. exclude: items that must not appear.
 * filter: docs/api.md. diversity: 0..1. unseen: leave out the own history. repeat: whether own items count as such.
 * reasons: why each item is there. now: µs since 1970.
 */
export type Asked = {
    topK?: number | undefined;
    context?: string | undefined;
    cart?: string[] | undefined;
    exclude?: string[] | undefined;
    filter?: unknown;
    diversity?: number | undefined;
    unseen?: boolean | undefined;
    repeat?: boolean | undefined;
    reasons?: boolean | undefined;
    now?: number | undefined;
};
/**
 * A list, best first. fallback: "trend" when nothing was known of the shopper.
 */
export type Recommendations = {
    items: Listed[];
    bundleVersion: string;
    placement: string;
    fallback: "trend" | null;
    unknownExclude: string[];
};
/**
 * Scores of all items; barred: what must not be listed; why: reasons of listed items.
 */
export type Scored = {
    scores: Float32Array;
    personal: boolean;
    why?: (listed: Int32Array) => (Reason | null)[];
};
