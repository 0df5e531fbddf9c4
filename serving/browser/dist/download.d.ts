/**
 * What is in the browser's cache; null without a whole and unbroken file.
 * @param {Service} service
 * @returns {Promise<Held | null>}
 */
export function heldCatalogue({ address }: Service): Promise<Held | null>;
/**
 * The service's current catalogue and its changes. keep: whether the browser's cache may hold them.
 * Throws ShelfError "offline", "service" or "catalogue".
 * @param {Service} service
 * @param {Held | null} held
 * @param {boolean} keep
 * @returns {Promise<Held>}
 */
export function refreshCatalogue(service: Service, held: Held | null, keep: boolean): Promise<Held>;
/**
 * Put a catalogue into the browser's cache. A cache that is full or denied is no error: it is fetched again.
 * @param {Service} service
 * @param {Held} held
 */
export function keepCatalogue({ address }: Service, { file, bundle, changes }: Held): Promise<void>;
/**
 * SHA-256 (hex); empty where the browser has no cryptography for the page, as over http://.
 * @param {Uint8Array<ArrayBuffer>} file
 */
export function sha256(file: Uint8Array<ArrayBuffer>): Promise<string>;
/** Name of the cache of the browser's. */
export const CACHE: "ownshelf";
export type Service = import("./service.js").Service;
export type Change = import("./catalogue.js").Change;
/**
 * Changes of a bundle's items up to a sequence of an epoch.
 */
export type Changes = {
    bundle_version: string;
    epoch: string;
    sequence: number;
    changes: Change[];
};
/**
 * bundle: as it is downloaded; now: with what changed since.
 */
export type Held = {
    file: Uint8Array<ArrayBuffer>;
    bundle: Catalogue;
    changes: Changes | null;
    now: Catalogue;
};
import { Catalogue } from "./catalogue.js";
