/**
 * Define the element for a shelf. Attributes: placement, heading, top-k, context, href and image ("/items/{item}").
 * Parts: heading, list, item, link, image, title, price, why, dismiss, skeleton.
 * @param {Shelf} shelf
 * @param {{ name?: string, words?: { why: string, dismiss: string }, price?: (price: number) => string }} [options]
 */
export function defineShelf(shelf: Shelf, { name, words, price }?: {
    name?: string;
    words?: {
        why: string;
        dismiss: string;
    };
    price?: (price: number) => string;
}): void;
export type Shelf = import("./shelf.js").Shelf;
export type Listed = import("./lists.js").Listed;
