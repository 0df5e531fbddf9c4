/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
/** @param {string} why @returns {never} */
export function refuse(why: string): never;
/** @param {...(Uint8Array | number[])} parts @returns {Bytes} */
export function joined(...parts: (Uint8Array | number[])[]): Bytes;
export function u32(n: number): number[];
export function ascii(text: string): Bytes;
export function sized(value: Uint8Array): Bytes;
export function framed(...fields: Uint8Array[]): Bytes;
export function hex(bytes: Uint8Array): string;
export function unhex(text: string): Bytes;
export function base64(bytes: Uint8Array): string;
export function unbase64(text: string): Bytes;
export function same(a: Uint8Array, b: Uint8Array): boolean;
export function sha256(bytes: Bytes): Promise<Uint8Array<ArrayBuffer>>;
/** Reads fields off the front of bytes; every error names the field. */
export class Reader {
    /** @param {Bytes} bytes */
    constructor(bytes: Bytes);
    at: number;
    bytes: Bytes;
    view: DataView<ArrayBuffer>;
    /** @param {string} name @param {number} n */
    take(name: string, n: number): Uint8Array<ArrayBuffer>;
    /** An unsigned integer of 1, 4 or 8 bytes. @param {string} name @param {1 | 4 | 8} n @param {number} [low] @param {number} [high] */
    number(name: string, n: 1 | 4 | 8, low?: number, high?: number): number;
    /** @param {string} name */
    real(name: string): number;
    /** @param {string} name @param {number} low @param {number} high */
    field(name: string, low: number, high: number): Uint8Array<ArrayBuffer>;
    /** @param {string} name @param {number} high */
    text(name: string, high: number): string;
    end(): void;
}
export type Bytes = Uint8Array<ArrayBuffer>;
