// Tasks as the custodian signs them, and what a device refuses (docs/wire.md).
import { Reader, ascii, framed, refuse, same, sha256 } from "./bytes.js";
import { ROWS, checkPlan, roundPlan, samePlan, sensitivitySquared } from "./plan.js";

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

export const SUITE = "x25519-hkdf-sha256-aes-256-gcm";
const DOMAIN = ascii("ownshelf/task/v1"), MAX_BYTES = 1_000_000, U32 = 2 ** 32 - 1;
/** @type {Record<string, number>} */
const KEY_BYTES = {
  [SUITE]: 32, "verified-x25519-hkdf-sha256-aes-256-gcm": 32, "mlkem768-x25519-hkdf-sha256-aes-256-gcm": 1216,
};

/**
 * Read a task, its signature unchecked. Throws ShelfError "task" for anything that is not one.
 * @param {Bytes} bytes
 * @returns {Task}
 */
export function readTask(bytes) {
  if (bytes.length > MAX_BYTES) refuse(`task: must be at most ${MAX_BYTES} bytes`);
  const read = new Reader(bytes), purpose = new TextDecoder().decode(read.take("magic", 4));
  if (purpose !== "OST1" && purpose !== "OSE1") refuse("magic: is not a task's");
  const name = (/** @type {string} */ field) => {
    const text = read.text(field, 64);
    return /^[A-Za-z0-9._:-]{1,64}$/.test(text) ? text : refuse(`${field}: is none`);
  };
  const id = name("task_id"), round = read.number("round", 4), bundleVersion = name("bundle_version");
  const bundleHash = read.take("bundle_hash", 32);
  const blocks = Array.from({ length: read.number("blocks", 4, 1, 65_536) }, () => {
    const start = read.number("start", 4);
    return { start, stop: read.number("stop", 4, start, U32) };
  });
  const parts = Array.from({ length: read.number("parts", 4, 1, 16) }, () => ({
    name: read.text("part name", 32), length: read.number("part length", 4, 1, 2 ** 22), clip_norm: read.real("clip_norm"),
    scale: read.real("scale"), clamped: read.number("clamped", 1, 0, 1) === 1,
  }));
  const plan = {
    parts, min_reports: read.number("min_reports", 4, 1), max_reports: read.number("max_reports", 4, 1), sigma: read.number("sigma", 4),
  };
  checkPlan(plan);
  const suite = read.text("suite", 64), key = read.field("round_public_key", 1, 4096);
  if (key.length !== KEY_BYTES[suite]) refuse(`suite=${suite}: is unknown, or its key has another length`);
  const deadline = read.number("deadline", 8), comeBackAt = read.number("come_back_at", 8);
  const signedBytes = bytes.slice(0, read.at), signature = read.take("signature", 64);
  read.end();
  return { purpose, id, round, bundleVersion, bundleHash, blocks, plan, suite, key, deadline, comeBackAt, bytes, signedBytes, signature };
}

/** SHA-256 that binds sealed seeds to a task. @param {Task} task */
export const taskHash = ({ signedBytes }) => sha256(framed(DOMAIN, signedBytes));

/** @param {Task} task @param {Bytes} publicKey */
export const isSigned = ({ signedBytes, signature }, publicKey) => verified(publicKey, framed(DOMAIN, signedBytes), signature);

/**
 * @param {Bytes} publicKey Ed25519
 * @param {Bytes} message
 * @param {Bytes} signature
 */
export async function verified(publicKey, message, signature) {
  const key = await crypto.subtle.importKey("raw", publicKey, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, signature, message);
}

/**
 * Refuse a task that is expired, not the pinned custodian's, or other or weaker than agreed. Throws ShelfError "task".
 * @param {Task} task
 * @param {Terms} terms
 * @param {Bytes} custodianKey
 * @param {number} now seconds
 */
export async function checkTask(task, terms, custodianKey, now) {
  const { plan, deadline, blocks, suite } = task, { maxWaitS = 7 * 86_400, minReports = 50 } = terms, agreed = terms.plan;
  if (task.purpose !== "OST1") refuse("purpose: must be training");
  if (!(await isSigned(task, custodianKey))) refuse("signature: must be the pinned custodian's");
  if (!(now <= deadline && deadline <= now + maxWaitS)) refuse(`deadline=${deadline}: must be ${now}..${now + maxWaitS}`);
  if (plan.min_reports < minReports) refuse(`min_reports=${plan.min_reports}: must be at least ${minReports}`);
  if (!(plan.sigma ** 2 >= agreed.noise_multiplier ** 2 * Number(sensitivitySquared(plan)))) refuse("sigma: less noise than agreed");
  if (suite !== SUITE) refuse(`suite=${suite}: must be ${SUITE}`);
  const rows = Object.fromEntries(plan.parts.map(({ name, length }) => [name, length]));
  const trained = Object.keys(ROWS).find((part) => ROWS[part] in rows), nBlock = blocks[0].stop - blocks[0].start;
  const nItems = blocks[blocks.length - 1].stop;
  if (!trained || nBlock < 1 || rows[ROWS[trained]] % nBlock) refuse("parts: must be those of a training round");
  const cut = blocks.every(({ start, stop }, at) => start === at * nBlock && stop === Math.min(start + nBlock, nItems));
  if (!cut || (blocks.length - 1) * nBlock >= nItems) refuse("blocks: must cut all rows in order");
  const width = rows[ROWS[trained]] / nBlock;
  if (nItems < (agreed.min_items ?? 1) || width < (agreed.min_dim ?? 1)) refuse("items, dim: fewer than the privacy plan's least");
  if (!samePlan(plan, roundPlan(agreed, nBlock, width, trained))) refuse("plan: must be the privacy plan's own");
  return trained;
}

/** @param {Task} task @param {Bytes} hash */
export const isBundle = (task, hash) => same(task.bundleHash, hash);
