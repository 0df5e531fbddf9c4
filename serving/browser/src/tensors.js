// Safetensors files: a length, JSON, then typed arrays.
import { ShelfError } from "./errors.js";

/** @typedef {Int8Array | Uint8Array | Uint16Array | Int32Array | Float32Array} Tensor */
/** @typedef {{ tensors: Record<string, Tensor>, shapes: Record<string, number[]>, texts: Record<string, string> }} TensorFile */

/** @type {Record<string, { new (buffer: ArrayBuffer): Tensor, BYTES_PER_ELEMENT: number }>} */
const ARRAYS = { I8: Int8Array, U8: Uint8Array, U16: Uint16Array, I32: Int32Array, F32: Float32Array };

/**
 * Read a file's tensors in its order, and its metadata.
 * @param {Uint8Array} file
 * @returns {TensorFile}
 */
export function readTensors(file) {
  try {
    const length = Number(new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true));
    const start = 8 + length;
    const { __metadata__: texts, ...entries } = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
    /** @type {TensorFile} */
    const read = { tensors: {}, shapes: {}, texts };
    const names = Object.keys(entries).sort((a, b) => entries[a].data_offsets[0] - entries[b].data_offsets[0]);
    for (const name of names) {
      const { dtype, shape, data_offsets: [from, to] } = entries[name];
      const bytes = file.slice(start + from, start + to);
      const n = shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1);
      if (bytes.length !== to - from || bytes.length !== n * ARRAYS[dtype].BYTES_PER_ELEMENT) throw new Error(name);
      read.tensors[name] = new ARRAYS[dtype](bytes.buffer);
      read.shapes[name] = shape;
    }
    return read;
  } catch {
    throw new ShelfError("catalogue", "catalogue: not a catalogue file");
  }
}
