export function secureBytes(n: number): Bytes;
/**
 * The parts clipped, rounded at random and laid one after the other, as two's complement.
 * @param {SumPlan} plan
 * @param {Vectors} vectors
 * @param {Random} [random]
 */
export function encode(plan: SumPlan, vectors: Vectors, random?: Random): Uint32Array<ArrayBuffer>;
/**
 * AES-256-CTR of zeros under a seed, cut into words.
 * @param {Bytes} seed
 * @param {number} length
 */
export function stream(seed: Bytes, length: number): Promise<Uint32Array<ArrayBuffer>>;
/**
 * The service's share: words minus the seed's stream, as bytes.
 * @param {Uint32Array} words
 * @param {Bytes} seed
 * @returns {Promise<Bytes>}
 */
export function serviceShare(words: Uint32Array, seed: Bytes): Promise<Bytes>;
/**
 * HPKE base mode, single shot, empty associated data: enc ‖ ciphertext.
 * @param {Bytes} publicKey
 * @param {Bytes} info
 * @param {Bytes} seed
 * @param {CryptoKeyPair} [pair]
 */
export function seal(publicKey: Bytes, info: Bytes, seed: Bytes, pair?: CryptoKeyPair): Promise<import("./bytes.js").Bytes>;
/**
 * A report's bytes: everything that a device sends of itself.
 * @param {{ taskId: string, reportId: Bytes, block: number, sealedSeed: Bytes, token: Bytes, serviceShare: Bytes }} report
 */
export function reportBytes({ taskId, reportId, block, sealedSeed, token, serviceShare: share }: {
    taskId: string;
    reportId: Bytes;
    block: number;
    sealedSeed: Bytes;
    token: Bytes;
    serviceShare: Bytes;
}): import("./bytes.js").Bytes;
export function bindingOf(taskHash: Bytes, reportId: Bytes, block: number, length: number): import("./bytes.js").Bytes;
export function ephemeralKey(): Promise<CryptoKeyPair>;
export type Bytes = import("./bytes.js").Bytes;
export type SumPlan = import("./plan.js").SumPlan;
export type Vectors = Record<string, ArrayLike<number>>;
/**
 * so many random bytes
 */
export type Random = (n: number) => Bytes;
