// A report's halves: integers at random, a stream that hides them, a seed sealed to the round's key (RFC 9180).
import { ascii, framed, joined, refuse, u32 } from "./bytes.js";
import { boundSquared, lengthOf } from "./plan.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {import("./plan.js").SumPlan} SumPlan */
/** @typedef {Record<string, ArrayLike<number>>} Vectors */
/** @typedef {(n: number) => Bytes} Random so many random bytes */

const DOMAIN = ascii("ownshelf/private-sum/seed/v1"), KEM = ascii("KEM\x00\x20"), SUITE_ID = [0, 0x20, 0, 1, 0, 2];

/** @type {Random} */
export function secureBytes(n) {
  const bytes = new Uint8Array(n);
  for (let at = 0; at < n; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65_536, n)));
  return bytes;
}

/**
 * The parts clipped, rounded at random and laid one after the other, as two's complement.
 * @param {SumPlan} plan
 * @param {Vectors} vectors
 * @param {Random} [random]
 */
export function encode(plan, vectors, random = secureBytes) {
  const words = new Uint32Array(lengthOf(plan));
  let at = 0;
  for (const part of plan.parts) {
    const values = vectors[part.name];
    if (values?.length !== part.length) refuse(`part ${part.name}: must have ${part.length} numbers`);
    let squared = 0;
    for (let i = 0; i < part.length; i++) squared += values[i] * values[i];
    const norm = Math.sqrt(squared), limit = part.clip_norm / Math.sqrt(part.length);
    if (!(norm < Infinity)) refuse(`part ${part.name}: must be finite`);
    const factor = part.scale * (norm > 0 ? Math.min(1, part.clip_norm / norm) : 1), bound = boundSquared(part);
    for (let sum = bound + 1n; sum > bound; ) {
      const chances = new Uint32Array(random(4 * part.length).buffer);
      let exact = 0n, near = 0;
      for (let i = 0; i < part.length; i++) {
        const y = part.clamped ? Math.max(-limit, Math.min(limit, values[i])) * part.scale : values[i] * factor;
        const whole = Math.floor(chances[i] * 2 ** -32 + y);
        words[at + i] = whole;
        near += whole * whole;
        if (near >= 2 ** 52) {
          exact += BigInt(near);
          near = 0;
        }
      }
      sum = exact + BigInt(near);
    }
    at += part.length;
  }
  return words;
}

/**
 * AES-256-CTR of zeros under a seed, cut into words.
 * @param {Bytes} seed
 * @param {number} length
 */
export async function stream(seed, length) {
  const key = await crypto.subtle.importKey("raw", seed, "AES-CTR", false, ["encrypt"]);
  const algorithm = { name: "AES-CTR", counter: new Uint8Array(16), length: 128 };
  return new Uint32Array(await crypto.subtle.encrypt(algorithm, key, new Uint8Array(4 * length)));
}

/**
 * The service's share: words minus the seed's stream, as bytes.
 * @param {Uint32Array} words
 * @param {Bytes} seed
 * @returns {Promise<Bytes>}
 */
export async function serviceShare(words, seed) {
  const share = await stream(seed, words.length);
  for (let at = 0; at < words.length; at++) share[at] = words[at] - share[at];
  return new Uint8Array(share.buffer);
}

/**
 * What a sealed seed is bound to.
 * @param {Bytes} taskHash
 * @param {Bytes} reportId
 * @param {number} block
 * @param {number} length of the vector, in words
 */
export const bindingOf = (taskHash, reportId, block, length) =>
  framed(DOMAIN, taskHash, reportId, Uint8Array.from(u32(block)), Uint8Array.from(u32(length)));

/** @returns {Promise<CryptoKeyPair>} */
export const ephemeralKey = () =>
  /** @type {Promise<any>} */ (crypto.subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]));

/**
 * HPKE base mode, single shot, empty associated data: enc ‖ ciphertext.
 * @param {Bytes} publicKey
 * @param {Bytes} info
 * @param {Bytes} seed
 * @param {CryptoKeyPair} [pair]
 */
export async function seal(publicKey, info, seed, pair) {
  const { publicKey: own, privateKey } = pair ?? (await ephemeralKey());
  const theirs = await crypto.subtle.importKey("raw", publicKey, { name: "X25519" }, false, []);
  const shared = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, privateKey, 256));
  const enc = new Uint8Array(await crypto.subtle.exportKey("raw", own)), suite = joined(ascii("HPKE"), SUITE_ID), none = new Uint8Array(0);
  const secret = await expand(KEM, await extract(KEM, none, "eae_prk", shared), "shared_secret", joined(enc, publicKey), 32);
  const context = joined([0], await extract(suite, none, "psk_id_hash", none), await extract(suite, none, "info_hash", info));
  const prk = await extract(suite, secret, "secret", none);
  const [raw, iv] = [await expand(suite, prk, "key", context, 32), await expand(suite, prk, "base_nonce", context, 12)];
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt"]);
  return joined(enc, new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, seed)));
}

/** @param {Bytes} suite @param {Bytes} salt @param {string} label @param {Bytes} material */
function extract(suite, salt, label, material) {
  return hmac(salt.length ? salt : new Uint8Array(32), joined(ascii("HPKE-v1"), suite, ascii(label), material));
}

/** At most 32 bytes: one block of HKDF. @param {Bytes} suite @param {Bytes} prk @param {string} label @param {Bytes} info @param {number} length */
async function expand(suite, prk, label, info, length) {
  const message = joined([length >> 8, length & 255], ascii("HPKE-v1"), suite, ascii(label), info, [1]);
  return (await hmac(prk, message)).slice(0, length);
}

/** @param {Bytes} key @param {Bytes} message @returns {Promise<Bytes>} */
async function hmac(key, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

/**
 * A report's bytes: everything that a device sends of itself.
 * @param {{ taskId: string, reportId: Bytes, block: number, sealedSeed: Bytes, token: Bytes, serviceShare: Bytes }} report
 */
export function reportBytes({ taskId, reportId, block, sealedSeed, token, serviceShare: share }) {
  if (token.length > 640) refuse("token: must be at most 640 bytes");
  const front = joined(ascii("OSR1"), u32(taskId.length), ascii(taskId), reportId, u32(block));
  return joined(front, u32(sealedSeed.length), sealedSeed, u32(token.length), token, u32(share.length), share);
}
