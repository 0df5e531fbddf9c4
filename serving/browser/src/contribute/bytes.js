// Bytes of a message (docs/wire.md): little-endian, lengths first; reading is strict and bounded.
import { ShelfError } from "../errors.js";

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** @param {string} why @returns {never} */
export function refuse(why) {
  throw new ShelfError("task", why);
}

/** @param {...(Uint8Array | number[])} parts @returns {Bytes} */
export function joined(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** @param {number} n */
export const u32 = (n) => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, n >>> 24];

/** @param {string} text @returns {Bytes} */
export const ascii = (text) => new TextEncoder().encode(text);

/** @param {Uint8Array} value */
export const sized = (value) => joined(u32(value.length), value);

/** @param {...Uint8Array} fields */
export const framed = (...fields) => joined(...fields.map(sized));

/** @param {Uint8Array} bytes */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {string} text @returns {Bytes} */
export const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** @param {Uint8Array} bytes */
export const base64 = (bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};

/** @param {string} text @returns {Bytes} */
export const unbase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** @param {Uint8Array} a @param {Uint8Array} b */
export const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/** @param {Bytes} bytes */
export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

/** Reads fields off the front of bytes; every error names the field. */
export class Reader {
  at = 0;

  /** @param {Bytes} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** @param {string} name @param {number} n */
  take(name, n) {
    if (this.at + n > this.bytes.length) refuse(`${name}: ${n} bytes wanted, ${this.bytes.length - this.at} left`);
    this.at += n;
    return this.bytes.slice(this.at - n, this.at);
  }

  /** An unsigned integer of 1, 4 or 8 bytes. @param {string} name @param {1 | 4 | 8} n @param {number} [low] @param {number} [high] */
  number(name, n, low = 0, high = Number.MAX_SAFE_INTEGER) {
    this.take(name, n);
    const at = this.at - n;
    const value = n === 1 ? this.bytes[at] : n === 4 ? this.view.getUint32(at, true) : Number(this.view.getBigUint64(at, true));
    if (!(value >= low && value <= high)) refuse(`${name}=${value}: must be ${low}..${high}`);
    return value;
  }

  /** @param {string} name */
  real(name) {
    this.take(name, 8);
    return this.view.getFloat64(this.at - 8, true);
  }

  /** @param {string} name @param {number} low @param {number} high */
  field(name, low, high) {
    return this.take(name, this.number(`${name} length`, 4, low, high));
  }

  /** @param {string} name @param {number} high */
  text(name, high) {
    const raw = this.field(name, 0, high);
    if (!raw.every((byte) => byte > 32 && byte < 127)) refuse(`${name}: must be printable ASCII without spaces`);
    return new TextDecoder().decode(raw);
  }

  end() {
    if (this.at !== this.bytes.length) refuse(`message: ${this.bytes.length - this.at} bytes too many`);
  }
}
