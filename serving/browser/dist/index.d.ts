export { ShelfError } from "./errors.js";
export { PLACEMENTS } from "./lists.js";
export function open(options?: import("./shopper.js").Options): Promise<Shelf>;
import { Shelf } from "./shelf.js";
