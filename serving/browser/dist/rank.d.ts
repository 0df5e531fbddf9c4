/**
 * Re-order a shop's list; its own order is kept where nothing is known of the shopper. Throws ShelfError "rank".
 * @param {Catalogue} catalogue
 * @param {History} history
 * @param {string[]} items
 * @param {RankAsked} [asked]
 * @returns {Ranked}
 */
export function rankItems(catalogue: Catalogue, history: History, items: string[], { base, impact, surface, now }?: RankAsked): Ranked;
export type Catalogue = import("./catalogue.js").Catalogue;
export type Mix = import("./catalogue.js").Mix;
export type History = import("./profile.js").History;
/**
 * base: the shop's scores, its order without. impact=low moves no item by more than three places.
 */
export type RankAsked = {
    base?: number[] | null;
    impact?: "low" | "medium" | "high";
    surface?: "search" | "category";
    now?: number;
};
/**
 * What is known of every item; made anew when the history changes.
 */
export type Signals = {
    personal: Float32Array;
    own: Float32Array;
    present: Uint8Array;
    distinct: number;
    baskets: number;
};
export type Ranked = {
    items: string[];
    scores: number[];
    unknown: string[];
};
