// Taking part in training: one task, one report, and free to vanish between any two steps (docs/wire.md).
import { ShelfError } from "./errors.js";
import { ascii, base64, hex, refuse, unbase64, unhex } from "./contribute/bytes.js";
import { emptyAccount, epsilonOf } from "./contribute/ledger.js";
import { checkLog } from "./contribute/log.js";
import { lengthOf, rhoOf } from "./contribute/plan.js";
import { bindingOf, encode, reportBytes, seal, secureBytes, serviceShare } from "./contribute/sealing.js";
import { checkTask, readTask, taskHash } from "./contribute/task.js";
import { trainingVectors } from "./contribute/update.js";

/** @typedef {import("./contribute/task.js").Terms} Terms */
/** @typedef {import("./contribute/task.js").Task} Task */
/** @typedef {import("./contribute/ledger.js").Account} Account */
/** @typedef {import("./contribute/bytes.js").Bytes} Bytes */

/**
 * What taking part needs of a shelf. change: replaces the account in one durable step. fetchBundle: the catalogue that
 * the service hands out now, without changes since.
 * @typedef {object} Contributor
 * @property {import("./service.js").Service} service
 * @property {() => Account} account
 * @property {(change: (account: Account) => Account) => Promise<unknown>} change
 * @property {() => boolean} agrees
 * @property {() => Promise<import("./catalogue.js").Catalogue>} fetchBundle
 * @property {(catalogue: import("./catalogue.js").Catalogue) => import("./profile.js").History} history
 * @property {(task: { id: string, hash: string, deadline: number }) => Promise<string | Bytes>} token
 */

/** spreadS: the report goes at a random moment of so many seconds, at most. stayS: how long this call waits for it. @typedef {{ spreadS?: number, stayS?: number, now?: () => number }} Timing */

/** @typedef {"accepted" | "rejected" | "unsent" | "no_consent" | "no_round" | "too_early" | "took_part" | "cap_reached" | "period_full" | "budget_spent"} Status */
/** @typedef {{ status: Status, comeBackAt: number, detail?: string, reportBytes?: number }} Outcome */

const TASK = "/v1/federation/task", REPORTS = "/v1/federation/reports", LOG = "/v1/federation/log";
const HOLDOUT_SHARE = 0.1, WINDOW_SHARE = 0.9, LEAST_WAIT_S = 60, ASK_AGAIN_S = 3600;
const AGAIN = [408, 425, 429, 500, 502, 503, 504];
const uniform = () => new DataView(secureBytes(4).buffer).getUint32(0) / 2 ** 32;

/**
 * Send one report to the open round, or finish sending the last one.
 * Throws ShelfError "task" for a task that is not as agreed, "offline" or "service" when there is none to be had.
 * @param {Contributor} device
 * @param {Terms} terms
 * @param {Timing} [timing]
 * @returns {Promise<Outcome>}
 */
export async function contribute(device, terms, timing = {}) {
  const now = timing.now ?? (() => Date.now() / 1000), { maxWaitS = 7 * 86_400 } = terms;
  if (!device.agrees()) return { status: "no_consent", comeBackAt: 0 };
  const sent = await deliver(device, timing, now);
  if (sent) return sent;
  const at = Math.floor(now()), back = device.account().comeBackAt;
  if (at < back && back <= at + maxWaitS) return { status: "too_early", comeBackAt: back };
  const wait = async (/** @type {Status} */ status, /** @type {number} */ until) => {
    const comeBackAt = Math.min(until, at + maxWaitS);
    await device.change((account) => ({ ...account, comeBackAt }));
    return { status, comeBackAt };
  };
  const answer = await device.service.send(TASK, { anonymous: true });
  if (answer.status === 204) {
    const pause = Math.min(Number(answer.headers.get("retry-after") ?? ASK_AGAIN_S) || ASK_AGAIN_S, maxWaitS);
    return wait("no_round", at + pause + Math.floor(uniform() * pause / 10));
  }
  if (answer.status !== 200) throw new ShelfError("service", `service: status ${answer.status} instead of a task`);
  const task = readTask(new Uint8Array(await answer.arrayBuffer())), custodianKey = unhex(terms.custodianKey);
  const trained = await checkTask(task, terms, custodianKey, at);
  if (terms.followsLog ?? true) await followLog(device, task, custodianKey);
  if (task.plan.sigma === 0 && !/^http:\/\/(127\.0\.0\.1|localhost|\[::1\])(:|\/|$)/.test(device.service.address)) {
    refuse("sigma=0: a sum without noise is for this machine only");
  }
  const hash = await taskHash(task), refused = refusal(device.account(), task, hex(hash), terms, at);
  if (refused) {
    const last = device.account().entries.at(-1)?.at ?? at;
    return wait(refused, Math.max(task.comeBackAt, at + Math.max(at - last, LEAST_WAIT_S)));
  }
  const bundle = await device.fetchBundle();
  if (bundle.bundleVersion !== task.bundleVersion || bundle.digest !== hex(task.bundleHash)) refuse("bundle: the service hands out another one");
  const measuresOnly = device.account().measuresOnly ?? uniform() < HOLDOUT_SHARE;
  const block = Math.floor(uniform() * task.blocks.length), history = device.history(bundle);
  const vectors = trainingVectors(bundle, history, at * 1e6, task, block, trained, measuresOnly);
  const token = await device.token({ id: task.id, hash: hex(hash), deadline: task.deadline }), report = await makeReport(task, hash, block, vectors, token);
  const windowS = Math.min(timing.spreadS ?? Infinity, WINDOW_SHARE * (task.deadline - at));
  const pending = { task: hex(hash), deadline: task.deadline, postAt: at + uniform() * windowS, report: base64(report) };
  const rho = rhoOf(task.plan), entry = { task: hex(hash), round: task.round, at, rho: rho === Infinity ? null : rho };
  await device.change((account) => // bytes and charge are stored before anything is sent, unless another tab was first
    !device.agrees() || account.pending || refusal(account, task, entry.task, terms, at) ? account : {
      ...account, measuresOnly, pending, entries: [...account.entries, entry], comeBackAt: Math.min(task.comeBackAt, at + maxWaitS),
    });
  return (await deliver(device, timing, now)) ?? { status: "took_part", comeBackAt: task.comeBackAt };
}

/**
 * @param {Task} task
 * @param {Bytes} hash
 * @param {number} block
 * @param {Record<string, ArrayLike<number>>} vectors
 * @param {string | Bytes} token
 */
async function makeReport(task, hash, block, vectors, token) {
  const seed = secureBytes(32), reportId = secureBytes(16), words = encode(task.plan, vectors);
  const info = bindingOf(hash, reportId, block, lengthOf(task.plan));
  const [share, sealedSeed] = await Promise.all([serviceShare(words, seed), seal(task.key, info, seed)]);
  return reportBytes({ taskId: task.id, reportId, block, sealedSeed, token: typeof token === "string" ? ascii(token) : token, serviceShare: share });
}

/**
 * Why the device has no report for a task that is as agreed: its own caps and its lifetime's budget.
 * @param {Account} account
 * @param {Task} task
 * @param {string} hash
 * @param {Terms} terms
 * @param {number} at
 * @returns {Status | null}
 */
function refusal(account, task, hash, terms, at) {
  const { plan, maxEpsilon = 8, delta = 1e-6 } = terms, { max_per_period: most = 0, period_s: period = 86_400 } = plan;
  if (account.entries.some((entry) => entry.task === hash)) return "took_part";
  if (account.entries.length >= plan.max_participations) return "cap_reached";
  const lately = account.entries.filter((entry) => Math.abs(entry.at - at) <= period).length; // beyond: of another clock
  if (most && lately >= most) return "period_full";
  return epsilonOf(account, delta, rhoOf(task.plan)) > maxEpsilon ? "budget_spent" : null;
}

/** @param {Contributor} device @param {Task} task @param {Bytes} custodianKey */
async function followLog(device, task, custodianKey) {
  const { logHead } = device.account(), seen = logHead && { size: logHead.size, root: unhex(logHead.root) };
  const answer = await device.service.send(`${LOG}/${task.id}?since=${seen?.size ?? 0}`, { anonymous: true });
  if (answer.status !== 200) throw new ShelfError("service", `service: status ${answer.status} instead of a log proof`);
  const { size, root } = await checkLog(new Uint8Array(await answer.arrayBuffer()), task.bytes, custodianKey, seen);
  await device.change((account) =>
    account.logHead && account.logHead.size >= size ? account : { ...account, logHead: { size, root: hex(root) } });
}

/**
 * Post a stored report, the same bytes as ever; null when there is none, or its time is over.
 * @param {Contributor} device
 * @param {Timing} timing
 * @param {() => number} now
 * @returns {Promise<Outcome | null>}
 */
async function deliver(device, { stayS = 60 }, now) {
  const { pending, comeBackAt } = device.account();
  if (!pending) return null;
  const settle = () => device.change((account) => (account.pending?.task === pending.task ? { ...account, pending: null } : account));
  if (now() > pending.deadline) {
    await settle();
    return null;
  }
  const report = unbase64(pending.report), waits = pending.postAt - now();
  const outcome = (/** @type {Status} */ status, detail = "") => ({ status, comeBackAt, detail, reportBytes: report.length });
  if (waits > stayS) return outcome("unsent", "not_yet");
  if (waits > 0) await new Promise((next) => setTimeout(next, waits * 1000));
  if (!device.agrees() || device.account().pending?.task !== pending.task) return outcome("unsent", "withdrawn");
  try {
    const headers = { "content-type": "application/octet-stream" };
    const answer = await device.service.send(REPORTS, { method: "POST", headers, body: report, anonymous: true });
    if (AGAIN.includes(answer.status)) return outcome("unsent", `status_${answer.status}`);
    await settle();
    if (answer.status === 200 || answer.status === 201) return outcome("accepted");
    const code = (await answer.json().catch(() => null))?.error?.code;
    return outcome("rejected", typeof code === "string" ? code : `status_${answer.status}`);
  } catch {
    return outcome("unsent", "offline");
  }
}

export { emptyAccount, epsilonOf };
