/**
 * What a filter lets through. Throws ShelfError "filter" with the place of whatever is wrong.
 * @param {Catalogue} catalogue
 * @param {unknown} filter
 * @param {string} [where]
 * @param {number} [depth]
 * @returns {Matches}
 */
export function parseFilter(catalogue: Catalogue, filter: unknown, where?: string, depth?: number): Matches;
export type Catalogue = import("./catalogue.js").Catalogue;
export type Matches = (item: number) => boolean;
