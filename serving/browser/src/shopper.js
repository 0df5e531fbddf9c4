// What a shopper chose, and what is known of them: small functions of a shelf's state and history.
import { ShelfError } from "./errors.js";
import { knownTo } from "./history.js";
import { recent, withoutDislikes } from "./mix.js";

/** @typedef {import("./history.js").Event} Event */
/** @typedef {import("./catalogue.js").Catalogue} Catalogue */
/** @typedef {import("./store.js").State} State */

/**
 * nothing: no event is recorded, none recorded before is used. session: in this page's memory, gone with it.
 * observe: kept in this browser. contribute: and may take part in private sums.
 * @typedef {"nothing" | "session" | "observe" | "contribute"} Consent
 */

/** history: what this shopper did is another, in this tab or another one. @typedef {"history" | "catalogue" | "consent" | "storage"} EventName */

/**
 * @typedef {object} Options
 * @property {string} [endpoint] address of the service; this page's own origin by default
 * @property {string} [key] API key that the shop published for its pages
 * @property {Consent} [consent] of a shopper who has not chosen yet; "session" by default
 * @property {(task: { id: string, hash: string, deadline: number }) => Promise<string | Uint8Array<ArrayBuffer>>} [token] the right to report to this task once, a token of RFC 9578
 * @property {import("./contribute.js").Terms} [terms] what a shopper who contributes agrees to; pinned by the page
 * @property {unknown[]} [dataLayer] GA4's, from which events are read; none is sent
 * @property {string} [name] of the store, for a page of several shops
 */

const CONSENTS = ["nothing", "session", "observe", "contribute"];

/** The choices under which events are kept beyond the page. */
export const KEEPING = ["observe", "contribute"];

/**
 * The categories of the recent history, most looked at first, with their shares.
 * @param {Catalogue} catalogue
 * @param {Event[]} events
 */
export function topCategories(catalogue, events) {
  /** @type {Map<string, number>} */
  const weights = new Map();
  let total = 0;
  for (const [item, weight] of recent(withoutDislikes(knownTo(events, catalogue)), 10)) {
    const category = catalogue.categories[item];
    if (category === null) continue;
    weights.set(category, (weights.get(category) ?? 0) + weight);
    total += weight;
  }
  return [...weights].sort((a, b) => b[1] - a[1]).map(([category, weight]) => ({ category, share: weight / total }));
}

/**
 * The state without a report that is not sent yet; what it cost stays.
 * @param {State} state
 * @returns {State}
 */
export function withoutReport(state) {
  return state.account ? { ...state, account: { .../** @type {object} */ (state.account), pending: null } } : state;
}

/**
 * @param {string} consent
 * @returns {Consent}
 */
export function checkConsent(consent) {
  if (!CONSENTS.includes(consent)) throw new ShelfError("consent", `consent: must be one of ${CONSENTS.join(", ")}`);
  return /** @type {Consent} */ (consent);
}
