// The plan of one sum, and the one plan that a training round has under a privacy plan; public, exact in IEEE doubles.
import { refuse } from "./bytes.js";

/** @typedef {{ name: string, length: number, clip_norm: number, scale: number, clamped: boolean }} Part */
/** @typedef {{ parts: Part[], min_reports: number, max_reports: number, sigma: number }} SumPlan */
/** The agreed privacy plan, as `ownshelf plan` writes it. @typedef {{ clips: Record<string, number>, noise_multiplier: number, max_participations: number, min_reports: number, max_reports: number, delta: number, max_per_period?: number, period_s?: number, min_items?: number, min_dim?: number }} PrivacyPlan */

const WORD_LIMIT = 2 ** 31, MAX_LENGTH = 2 ** 22, TAIL_SIGMAS = 10, SLACK = 5.2656, METRICS = 4, MAX_STEPS = 2 ** 20;
/** @type {Record<string, number>} */
const SHARES = { rows: 1, intent_rows: 1, counts: 1 / 4, second: 1 / 4, first: 1 / 8, one: 1 / 8, metrics: 1 / 8 };
/** Which part holds the rows, by the part of the table that is trained. @type {Record<string, string>} */
export const ROWS = { taste: "rows", intent: "intent_rows" };

/** @param {Part} part */
const limit = ({ clip_norm: clip, length }) => clip / Math.sqrt(length);

/**
 * Bound on the squared L2 norm of a rounded part, in integer steps.
 * @param {Part} part
 */
export function boundSquared(part) {
  if (part.clamped) return BigInt(part.length) * BigInt(Math.ceil(limit(part) * part.scale)) ** 2n;
  const c = part.clip_norm * part.scale, root = Math.sqrt(part.length);
  return BigInt(Math.floor(Math.min((c + root) * (c + root), c * c + part.length / 4 + SLACK * (c + root / 2))));
}

/**
 * Bound on one rounded coordinate.
 * @param {Part} part
 */
export function coordinateBound(part) {
  return part.clamped ? Math.ceil(limit(part) * part.scale) : Number(isqrt(boundSquared(part)));
}

/** @param {SumPlan} plan */
export const lengthOf = ({ parts }) => parts.reduce((sum, part) => sum + part.length, 0);

/** @param {SumPlan} plan */
export const sensitivitySquared = ({ parts }) => parts.reduce((sum, part) => sum + boundSquared(part), 0n);

/** ρ of zCDP of one report, one party's noise counted. @param {SumPlan} plan */
export const rhoOf = (plan) => (plan.sigma > 0 ? Number(sensitivitySquared(plan)) / (2 * plan.sigma ** 2) : Infinity);

/**
 * Refuse a plan that could wrap around. Throws ShelfError "task".
 * @param {SumPlan} plan
 */
export function checkPlan(plan) {
  const { parts, min_reports: least, max_reports: most, sigma } = plan;
  if (!parts.length || new Set(parts.map(({ name }) => name)).size < parts.length) refuse("parts: must have distinct names");
  for (const part of parts) {
    if (!/^[a-z][a-z0-9_]{0,31}$/.test(part.name)) refuse("part name: is none");
    for (const value of [part.clip_norm, part.scale]) if (!(value > 0 && value < Infinity)) refuse(`part ${part.name}: must be finite and above 0`);
    if (!(part.clip_norm * part.scale < WORD_LIMIT)) refuse(`part ${part.name}: clip_norm·scale must be below ${WORD_LIMIT}`);
    if (most * coordinateBound(part) + TAIL_SIGMAS * sigma >= WORD_LIMIT) refuse(`part ${part.name}: its sum could wrap around`);
  }
  if (lengthOf(plan) > MAX_LENGTH) refuse(`length: must be at most ${MAX_LENGTH}`);
  if (!(least >= 1 && least <= most)) refuse("min_reports: must be 1..max_reports");
}

/**
 * The plan of a training round over blocks of nBlock items, width wide. Throws ShelfError "task".
 * @param {PrivacyPlan} privacy
 * @param {number} nBlock
 * @param {number} width
 * @param {string} trained
 * @returns {SumPlan}
 */
export function roundPlan(privacy, nBlock, width, trained) {
  const { clips, min_reports, max_reports, noise_multiplier: z } = privacy;
  const bounds = { rows: clips.rows, intent_rows: clips.rows, counts: clips.counts, second: clips.second, first: clips.first };
  /** @type {Record<string, number>} */
  const lengths = { [ROWS[trained]]: nBlock * width, counts: nBlock, second: (width * (width + 1)) / 2, first: width };
  const part = (/** @type {string} */ name, /** @type {number} */ length, /** @type {number} */ clip, /** @type {number} */ unit, clamped = false) =>
    ({ name, length, clip_norm: clip, scale: scaleOf(name, unit, max_reports), clamped });
  /** @type {Part[]} */
  let parts = Object.entries(lengths).map(([name, length]) => {
    const clip = /** @type {Record<string, number>} */ (bounds)[name];
    return part(name, length, clip, clip);
  });
  parts.push(part("one", 1, 1, 1, true), part("metrics", METRICS, Math.sqrt(METRICS), 1, true));
  for (;;) {
    const quiet = { parts, min_reports, max_reports, sigma: 0 };
    const plan = { ...quiet, sigma: leastSigma(z, sensitivitySquared(quiet)) };
    try {
      checkPlan(plan);
      return plan;
    } catch (error) {
      if (Math.min(...parts.map(({ clip_norm: clip, scale }) => clip * scale)) < 1) throw error;
      parts = parts.map((some) => ({ ...some, scale: some.scale / 2 })); // much noise over few reports needs no fine steps
    }
  }
}

/** @param {SumPlan} a @param {SumPlan} b */
export const samePlan = (a, b) => JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));

/** @param {SumPlan} plan */
function canonical({ parts, min_reports: least, max_reports: most, sigma }) {
  return [parts.map(({ name, length, clip_norm: clip, scale, clamped }) => [name, length, clip, scale, clamped]), least, most, sigma];
}

/** @param {string} part @param {number} clip @param {number} maxReports */
function scaleOf(part, clip, maxReports) {
  return 2 ** Math.floor(Math.log2((SHARES[part] * Math.min((0.5 * WORD_LIMIT) / maxReports, MAX_STEPS)) / clip));
}

/** Least integer σ with σ² ≥ z²·Δ². @param {number} z @param {bigint} squared */
function leastSigma(z, squared) {
  const wanted = z ** 2 * Number(squared), sigma = isqrt(BigInt(Math.floor(wanted)));
  return Number(sigma * sigma >= BigInt(Math.ceil(wanted)) ? sigma : sigma + 1n);
}

/** @param {bigint} n */
function isqrt(n) {
  let root = BigInt(Math.floor(Math.sqrt(Number(n))));
  while (root * root > n) root--;
  while ((root + 1n) * (root + 1n) <= n) root++;
  return root;
}
