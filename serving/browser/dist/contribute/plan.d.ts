/**
 * Bound on the squared L2 norm of a rounded part, in integer steps.
 * @param {Part} part
 */
export function boundSquared(part: Part): bigint;
/**
 * Bound on one rounded coordinate.
 * @param {Part} part
 */
export function coordinateBound(part: Part): number;
/**
 * Refuse a plan that could wrap around. Throws ShelfError "task".
 * @param {SumPlan} plan
 */
export function checkPlan(plan: SumPlan): void;
/**
 * The plan of a training round over blocks of nBlock items, width wide. Throws ShelfError "task".
 * @param {PrivacyPlan} privacy
 * @param {number} nBlock
 * @param {number} width
 * @param {string} trained
 * @returns {SumPlan}
 */
export function roundPlan(privacy: PrivacyPlan, nBlock: number, width: number, trained: string): SumPlan;
/** Which part holds the rows, by the part of the table that is trained. @type {Record<string, string>} */
export const ROWS: Record<string, string>;
export function lengthOf({ parts }: SumPlan): number;
export function sensitivitySquared({ parts }: SumPlan): bigint;
export function rhoOf(plan: SumPlan): number;
export function samePlan(a: SumPlan, b: SumPlan): boolean;
export type Part = {
    name: string;
    length: number;
    clip_norm: number;
    scale: number;
    clamped: boolean;
};
export type SumPlan = {
    parts: Part[];
    min_reports: number;
    max_reports: number;
    sigma: number;
};
/**
 * The agreed privacy plan, as `ownshelf plan` writes it.
 */
export type PrivacyPlan = {
    clips: Record<string, number>;
    noise_multiplier: number;
    max_participations: number;
    min_reports: number;
    max_reports: number;
    delta: number;
    max_per_period?: number;
    period_s?: number;
    min_items?: number;
    min_dim?: number;
};
