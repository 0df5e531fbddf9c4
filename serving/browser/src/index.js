// The SDK's public names.
import { Shelf } from "./shelf.js";

export { ShelfError } from "./errors.js";
export { PLACEMENTS } from "./lists.js";

/**
 * Open this shopper's shelf. Its history is this browser's; the catalogue is fetched from the service.
 * @param {import("./shopper.js").Options} [options]
 * @returns {Promise<Shelf>}
 */
export const open = (options = {}) => Shelf.open(options);
