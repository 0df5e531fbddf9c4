/**
 * Observe what is in a dataLayer already and whatever is pushed later. Returns what ends it.
 * @param {Listener} shelf
 * @param {unknown[]} dataLayer
 */
export function followDataLayer(shelf: Listener, dataLayer: unknown[]): () => undefined;
export type Listener = Pick<import("./shelf.js").Shelf, "observe" | "retract">;
export type Item = {
    item_id?: unknown;
    id?: unknown;
    quantity?: unknown;
};
