/**
 * The newer file, byte for byte, if the difference was made from this one.
 * @param {Uint8Array} old
 * @param {Uint8Array<ArrayBuffer>} delta
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export function applyDelta(old: Uint8Array, delta: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
