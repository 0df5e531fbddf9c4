/**
 * Read a file's tensors in its order, and its metadata.
 * @param {Uint8Array} file
 * @returns {TensorFile}
 */
export function readTensors(file: Uint8Array): TensorFile;
export type Tensor = Int8Array | Uint8Array | Uint16Array | Int32Array | Float32Array;
export type TensorFile = {
    tensors: Record<string, Tensor>;
    shapes: Record<string, number[]>;
    texts: Record<string, string>;
};
