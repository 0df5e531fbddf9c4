// A shopper's side of experiments in a browser or in Node, by WebCrypto alone: which arm, an interleaved list, whose
// clicks. docs/experiments.md and docs/interleaving.md are its specification, tests/vectors what it has to match.
// It sends nothing and stores nothing; the secret (32 random bytes, drawn once) must not leave the device.

const DOMAIN = "ownshelf/assignment/v1";
const BUCKETS = 10_000; // of a layer
const text = new TextEncoder();

export const INCUMBENT = 0, CHALLENGER = 1, NOBODY = -1;

function field(value) {
  const bytes = typeof value === "string" ? text.encode(value) : value;
  return [bytes.length >> 8, bytes.length & 255, ...bytes];
}

const hmac = (key, ...fields) => crypto.subtle.sign("HMAC", key, new Uint8Array(fields.flatMap(field)));

// The secret as a key that no script can read again: keep this in IndexedDB, not the bytes.
export const secretKey = (secret) =>
  crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);

// One of n buckets. purpose: "layer", "holdout" or "arm"; name: the layer's or the experiment's.
export async function bucket(key, purpose, name, n) {
  const digest = new DataView(await hmac(key, DOMAIN, purpose, name));
  return Math.floor((digest.getUint32(0) * n) / 2 ** 32);
}

// Index of the arm whose share of the summed weights holds this secret's bucket.
export async function armIndex(key, experimentId, weights) {
  const at = await bucket(key, "arm", experimentId, weights.reduce((a, b) => a + b, 0));
  let stop = 0;
  return weights.findIndex((weight) => at < (stop += weight));
}

// {arm, heldOut}: the name of the arm, null for a shopper who is not in. experiment: a definition as the service gives it.
export async function assign(experiment, key) {
  const { name, start = 0, stop = BUCKETS } = experiment.layer;
  const heldOut = (await bucket(key, "holdout", name, BUCKETS)) < Math.round((experiment.holdout_share ?? 0) * BUCKETS);
  const at = await bucket(key, "layer", name, BUCKETS);
  if (heldOut || at < start || at >= stop) return { arm: null, heldOut };
  const index = await armIndex(key, experiment.id, experiment.arms.map((arm) => arm.weight ?? 1));
  return { arm: experiment.arms[index].name, heldOut };
}

// {items, teams}: the first k of two rankings' draft. heads[j]: 1 if the challenger picks first in the j-th pair.
// An item that both would pick at the start of a pair is nobody's, and so is what fills up after one has run out.
export function teamDraft(incumbent, challenger, k, heads) {
  const lists = [incumbent, challenger], items = [], teams = [], taken = new Set();
  const left = (team) => lists[team].filter((item) => !taken.has(item));
  const take = (item, team) => {
    items.push(item);
    teams.push(team);
    taken.add(item);
  };
  const only = (list, item) => list.length === 1 && list[0] === item;
  for (;;) {
    const [ours, theirs] = [left(INCUMBENT), left(CHALLENGER)];
    const room = k - items.length;
    if (room < 1 || !ours.length || !theirs.length) break;
    if (room > 1 && (only(theirs, ours[0]) || only(ours, theirs[0]))) break; // one could not answer
    const first = heads[items.length >> 1] ? CHALLENGER : INCUMBENT;
    let shared = true;
    for (const captain of [first, 1 - first].slice(0, room)) {
      shared &&= left(INCUMBENT)[0] === left(CHALLENGER)[0];
      take(left(captain)[0], shared ? NOBODY : captain);
    }
  }
  for (const item of [...incumbent, ...challenger]) if (items.length < k && !taken.has(item)) take(item, NOBODY);
  return { items, teams };
}

// Fair coins for teamDraft, one a pair.
export const coins = (k) => Array.from(crypto.getRandomValues(new Uint8Array((k + 1) >> 1)), (byte) => byte & 1);

// -1, 0 or 1: whose picks were clicked more often, 1 the challenger's. clicked: by place, as teams.
export function preference(teams, clicked) {
  const of = (team) => teams.filter((one, place) => one === team && clicked[place]).length;
  return Math.sign(of(CHALLENGER) - of(INCUMBENT));
}

// [wins, losses] after one more session, each up to the metric's cap.
export const tallied = ([wins, losses], session, cap) =>
  [Math.min(wins + (session > 0), cap), Math.min(losses + (session < 0), cap)];

// What (1, x, x²) is of a tally. A device sends by how much it changed since its last report; all zeros before the exposure.
export const figures = ([wins, losses]) => [1, wins - losses, (wins - losses) ** 2];
