// The custodian's public log: that a task is in it, and that it goes on from the one seen last (RFC 6962).
import { Reader, ascii, framed, joined, refuse, same, sha256 } from "./bytes.js";
import { verified } from "./task.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {{ size: number, root: Bytes }} Head */

const DOMAIN = ascii("ownshelf/log-head/v1"), MAX_SIZE = 2 ** 48;

/**
 * Check a proof; the head to remember. Throws ShelfError "task" for a log that is another one.
 * @param {Bytes} bytes
 * @param {Bytes} task as it came
 * @param {Bytes} custodianKey
 * @param {Head | null} seen
 * @returns {Promise<Head>}
 */
export async function checkLog(bytes, task, custodianKey, seen) {
  const read = new Reader(bytes);
  const magic = (/** @type {string} */ wanted) => same(read.take("magic", 4), ascii(wanted)) || refuse(`magic: must be ${wanted}`);
  magic("OSP1");
  const from = read.at;
  magic("OSH1");
  const size = read.number("size", 8, 0, MAX_SIZE), root = read.take("root", 32);
  read.number("at", 8);
  const signed = bytes.slice(from, read.at), signature = read.take("signature", 64);
  const index = read.number("index", 8, 0, MAX_SIZE), since = read.number("since", 8, 0, MAX_SIZE);
  const hashes = () => Array.from({ length: read.number("hashes", 4, 0, 64) }, () => read.take("hash", 32));
  const inclusion = hashes(), consistency = hashes();
  read.end();
  if (!(await verified(custodianKey, framed(DOMAIN, signed), signature))) refuse("log head: is not signed by the custodian");
  const leaf = await sha256(joined([0], framed(ascii("task"), task)));
  await checkInclusion(leaf, index, size, root, inclusion);
  if (seen) {
    if (since !== seen.size) refuse(`log: is proved from ${since}, must be from ${seen.size}`);
    await checkConsistency(seen, { size, root }, consistency);
  }
  return { size, root };
}

/** @param {Bytes} left @param {Bytes} right */
const node = (left, right) => sha256(joined([1], left, right));

/** The largest power of two below size, which is 2 or more. @param {number} size */
const cutOf = (size) => 2 ** Math.ceil(Math.log2(size) - 1);

/** @param {Bytes} leaf @param {number} index @param {number} size @param {Bytes} root @param {Bytes[]} proof */
export async function checkInclusion(leaf, index, size, root, proof) {
  if (!(index >= 0 && index < size)) refuse("log: has no such entry");
  const siblings = [...proof];
  /** @type {(index: number, size: number) => Promise<Bytes>} */
  const climb = async (at, n) => {
    if (n === 1) return leaf;
    const cut = cutOf(n), sibling = siblings.pop() ?? refuse("log: its proof is too short");
    return at < cut ? node(await climb(at, cut), sibling) : node(sibling, await climb(at - cut, n - cut));
  };
  if (!same(await climb(index, size), root) || siblings.length) refuse("log: the task is not in it");
}

/** @param {Head} old @param {Head} now @param {Bytes[]} proof */
export async function checkConsistency(old, now, proof) {
  if (old.size > now.size) refuse("log: is shorter than it was");
  const hashes = [...proof], next = () => hashes.pop() ?? refuse("log: its proof is too short");
  /** @type {(old: number, size: number, whole: boolean) => Promise<[Bytes, Bytes]>} */
  const climb = async (before, size, whole) => {
    if (before === size) {
      const hash = whole ? old.root : next();
      return [hash, hash];
    }
    const cut = cutOf(size), sibling = next();
    const [left, right] = before <= cut ? await climb(before, cut, whole) : await climb(before - cut, size - cut, false);
    return before <= cut ? [left, await node(right, sibling)] : [await node(sibling, left), await node(sibling, right)];
  };
  const [before, after] = old.size ? await climb(old.size, now.size, true) : [old.root, now.root];
  if (!same(before, old.root) || !same(after, now.root) || hashes.length) refuse("log: does not go on from the one seen before");
}
