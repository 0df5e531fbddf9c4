// The difference between two catalogue files (recsys/catalogue/delta.py). Its caller checks the hash of what it makes.
import { readTensors } from "./tensors.js";

const MARK = "OSDELTA1";
/** @type {Record<string, { name: string, bytes: number }>} */
const KINDS = {
  int8: { name: "I8", bytes: 1 }, uint8: { name: "U8", bytes: 1 }, uint16: { name: "U16", bytes: 2 },
  int32: { name: "I32", bytes: 4 }, float32: { name: "F32", bytes: 4 },
};

/**
 * The newer file, byte for byte, if the difference was made from this one.
 * @param {Uint8Array} old
 * @param {Uint8Array<ArrayBuffer>} delta
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function applyDelta(old, delta) {
  const unpacked = new Blob([delta]).stream().pipeThrough(new DecompressionStream("deflate"));
  const content = new Uint8Array(await new Response(unpacked).arrayBuffer());
  const view = new DataView(content.buffer), text = new TextDecoder();
  if (text.decode(content.subarray(0, 8)) !== MARK) throw new Error("no difference of catalogues");
  const start = 16 + Number(view.getBigUint64(8, true));
  const header = JSON.parse(text.decode(content.subarray(16, start)));
  const { tensors, shapes, texts: before } = readTensors(old);
  /** @type {Record<string, { kind: string, shape: number[], bytes: Uint8Array }>} */
  const after = {};
  let at = start;
  for (const [name, kind, shape] of header.tensors) {
    const { bytes } = KINDS[kind], n = shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1);
    const known = tensors[name], words = new Uint8Array(n * bytes);
    if (known && known.BYTES_PER_ELEMENT === bytes && String(shapes[name].slice(1)) === String(shape.slice(1))) {
      words.set(new Uint8Array(known.buffer).subarray(0, words.length));
    }
    for (let word = 0; word < n; word++) { // lowest bytes of all words come first
      for (let byte = 0, carry = 0; byte < bytes; byte++) {
        carry += words[word * bytes + byte] + content[at + byte * n + word];
        words[word * bytes + byte] = carry;
        carry >>= 8;
      }
    }
    at += n * bytes;
    after[name] = { kind: KINDS[kind].name, shape, bytes: words };
  }
  const texts = { ...before, ...header.texts, items: itemsText(JSON.parse(before.items), header.items) };
  /** @type {Record<string, unknown>} */
  const entries = { __metadata__: Object.fromEntries(header.names.map((/** @type {string} */ name) => [name, texts[name]])) };
  /** @type {Uint8Array[]} */
  const body = [];
  let offset = 0;
  for (const name of header.order) {
    const { kind, shape, bytes } = after[name] ?? kept(tensors[name], shapes[name]);
    entries[name] = { dtype: kind, shape, data_offsets: [offset, offset += bytes.length] };
    body.push(bytes);
  }
  const head = new TextEncoder().encode(json(entries)), padding = -head.length & 7;
  const file = new Uint8Array(8 + head.length + padding + offset).fill(32);
  new DataView(file.buffer).setBigUint64(0, BigInt(head.length + padding), true);
  file.set(head, 8);
  let to = 8 + head.length + padding;
  for (const bytes of body) {
    file.set(bytes, to);
    to += bytes.length;
  }
  return file;
}

/**
 * @param {import("./tensors.js").Tensor} tensor
 * @param {number[]} shape
 */
function kept(tensor, shape) {
  const kinds = new Map(/** @type {[unknown, string][]} */ (
    [[Int8Array, "I8"], [Uint8Array, "U8"], [Uint16Array, "U16"], [Int32Array, "I32"], [Float32Array, "F32"]]));
  return { kind: kinds.get(tensor.constructor) ?? "", shape, bytes: new Uint8Array(tensor.buffer) };
}

/**
 * @param {Record<string, unknown[]>} old
 * @param {Record<string, any>} changed
 */
function itemsText(old, changed) {
  const columns = changed.names.map((/** @type {string} */ name) => {
    const change = changed[name], values = change?.whole ?? [...old[name]];
    if (change && !change.whole) change.at.forEach((/** @type {number} */ place, /** @type {number} */ j) => (values[place] = change.are[j]));
    const written = name === "price" ? values.map((/** @type {number | null} */ price) => (price === null ? "null" : float(price))) : values.map(json);
    return `${json(name)}: [${written.join(", ")}]`;
  });
  return `{${columns.join(", ")}}`;
}

/**
 * JSON as Python writes it: a space after each comma and colon.
 * @param {unknown} value
 * @returns {string}
 */
function json(value) {
  if (Array.isArray(value)) return `[${value.map(json).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}: ${json(inner)}`).join(", ")}}`;
}

/**
 * A float as Python writes it: 3.0, 1e-05, 1e+16.
 * @param {number} value
 */
function float(value) {
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [digits, exponent] = value.toExponential().split("e"), power = Number(exponent);
  if (power < -4 || power >= 16) {
    return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}
