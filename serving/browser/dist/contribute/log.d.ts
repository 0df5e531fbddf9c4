/**
 * Check a proof; the head to remember. Throws ShelfError "task" for a log that is another one.
 * @param {Bytes} bytes
 * @param {Bytes} task as it came
 * @param {Bytes} custodianKey
 * @param {Head | null} seen
 * @returns {Promise<Head>}
 */
export function checkLog(bytes: Bytes, task: Bytes, custodianKey: Bytes, seen: Head | null): Promise<Head>;
/** @param {Bytes} leaf @param {number} index @param {number} size @param {Bytes} root @param {Bytes[]} proof */
export function checkInclusion(leaf: Bytes, index: number, size: number, root: Bytes, proof: Bytes[]): Promise<void>;
/** @param {Head} old @param {Head} now @param {Bytes[]} proof */
export function checkConsistency(old: Head, now: Head, proof: Bytes[]): Promise<void>;
export type Bytes = import("./bytes.js").Bytes;
export type Head = {
    size: number;
    root: Bytes;
};
