/**
 * Read a task, its signature unchecked. Throws ShelfError "task" for anything that is not one.
 * @param {Bytes} bytes
 * @returns {Task}
 */
export function readTask(bytes: Bytes): Task;
/**
 * @param {Bytes} publicKey Ed25519
 * @param {Bytes} message
 * @param {Bytes} signature
 */
export function verified(publicKey: Bytes, message: Bytes, signature: Bytes): Promise<boolean>;
/**
 * Refuse a task that is expired, not the pinned custodian's, or other or weaker than agreed. Throws ShelfError "task".
 * @param {Task} task
 * @param {Terms} terms
 * @param {Bytes} custodianKey
 * @param {number} now seconds
 */
export function checkTask(task: Task, terms: Terms, custodianKey: Bytes, now: number): Promise<string>;
/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {import("./plan.js").SumPlan} SumPlan */
/** @typedef {import("./plan.js").PrivacyPlan} PrivacyPlan */
/**
 * @typedef {object} Task
 * @property {string} purpose
 * @property {string} id
 * @property {number} round
 * @property {string} bundleVersion
 * @property {Bytes} bundleHash
 * @property {{ start: number, stop: number }[]} blocks
 * @property {SumPlan} plan
 * @property {string} suite
 * @property {Bytes} key of the round
 * @property {number} deadline seconds since 1970
 * @property {number} comeBackAt
 * @property {Bytes} bytes as they came
 * @property {Bytes} signedBytes
 * @property {Bytes} signature
 */
/**
 * What the shopper's device agreed to; a weaker task is refused. custodianKey: Ed25519, hex, pinned by the page.
 * @typedef {object} Terms
 * @property {string} custodianKey
 * @property {PrivacyPlan} plan
 * @property {number} [minReports]
 * @property {number} [maxWaitS]
 * @property {number} [maxEpsilon] of the device's lifetime, over all sums
 * @property {number} [delta]
 * @property {boolean} [followsLog]
 */
export const SUITE: "x25519-hkdf-sha256-aes-256-gcm";
export function taskHash({ signedBytes }: Task): Promise<Uint8Array<ArrayBuffer>>;
export function isSigned({ signedBytes, signature }: Task, publicKey: Bytes): Promise<boolean>;
export function isBundle(task: Task, hash: Bytes): boolean;
export type Bytes = import("./bytes.js").Bytes;
export type SumPlan = import("./plan.js").SumPlan;
export type PrivacyPlan = import("./plan.js").PrivacyPlan;
export type Task = {
    purpose: string;
    id: string;
    round: number;
    bundleVersion: string;
    bundleHash: Bytes;
    blocks: {
        start: number;
        stop: number;
    }[];
    plan: SumPlan;
    suite: string;
    /**
     * of the round
     */
    key: Bytes;
    /**
     * seconds since 1970
     */
    deadline: number;
    comeBackAt: number;
    /**
     * as they came
     */
    bytes: Bytes;
    signedBytes: Bytes;
    signature: Bytes;
};
/**
 * What the shopper's device agreed to; a weaker task is refused. custodianKey: Ed25519, hex, pinned by the page.
 */
export type Terms = {
    custodianKey: string;
    plan: PrivacyPlan;
    minReports?: number | undefined;
    maxWaitS?: number | undefined;
    /**
     * of the device's lifetime, over all sums
     */
    maxEpsilon?: number | undefined;
    delta?: number | undefined;
    followsLog?: boolean | undefined;
};
