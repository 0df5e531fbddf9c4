// A device's own account of the sums it took part in: what was spent over its lifetime, and what is still to be sent.

/** One participation, written before its report is sent. rho: null without noise. @typedef {{ task: string, round: number, at: number, rho: number | null }} Entry */
/** pending: a report that may have to be sent again, byte for byte. @typedef {{ task: string, deadline: number, postAt: number, report: string }} Pending */
/** @typedef {{ entries: Entry[], pending: Pending | null, comeBackAt: number, measuresOnly: boolean | null, logHead: { size: number, root: string } | null }} Account */

/** @returns {Account} */
export const emptyAccount = () => ({ entries: [], pending: null, comeBackAt: 0, measuresOnly: null, logHead: null });

/**
 * ε over the whole life at δ, after so much more.
 * @param {Account} account
 * @param {number} delta
 * @param {number} [more] ρ
 */
export function epsilonOf({ entries }, delta, more = 0) {
  const rho = entries.reduce((sum, entry) => sum + (entry.rho ?? Infinity), more);
  if (rho === 0 || rho === Infinity) return rho;
  const at = (/** @type {number} */ exponent) => {
    const alpha = 1 + 10 ** exponent; // Canonne, Kamath, Steinke 2020, proposition 12
    return rho * alpha + Math.log1p(-1 / alpha) + (Math.log(1 / delta) - Math.log(alpha)) / (alpha - 1);
  };
  const least = (/** @type {number[]} */ exponents) => exponents.reduce((a, b) => (at(b) < at(a) ? b : a));
  const best = least(Array.from({ length: 601 }, (_, step) => (step - 150) / 50));
  return Math.max(at(least(Array.from({ length: 401 }, (_, step) => best + (step - 200) / 10_000))), 0);
}
