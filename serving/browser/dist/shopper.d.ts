/**
 * The categories of the recent history, most looked at first, with their shares.
 * @param {Catalogue} catalogue
 * @param {Event[]} events
 */
export function topCategories(catalogue: Catalogue, events: Event[]): {
    category: string;
    share: number;
}[];
/**
 * The state without a report that is not sent yet; what it cost stays.
 * @param {State} state
 * @returns {State}
 */
export function withoutReport(state: State): State;
/**
 * @param {string} consent
 * @returns {Consent}
 */
export function checkConsent(consent: string): Consent;
/** The choices under which events are kept beyond the page. */
export const KEEPING: string[];
export type Event = import("./history.js").Event;
export type Catalogue = import("./catalogue.js").Catalogue;
export type State = import("./store.js").State;
/**
 * nothing: no event is recorded, none recorded before is used. session: in this page's memory, gone with it.
 * observe: kept in this browser. contribute: and may take part in private sums.
 */
export type Consent = "nothing" | "session" | "observe" | "contribute";
/**
 * history: what this shopper did is another, in this tab or another one.
 */
export type EventName = "history" | "catalogue" | "consent" | "storage";
export type Options = {
    /**
     * address of the service; this page's own origin by default
     */
    endpoint?: string | undefined;
    /**
     * API key that the shop published for its pages
     */
    key?: string | undefined;
    /**
     * of a shopper who has not chosen yet; "session" by default
     */
    consent?: Consent | undefined;
    /**
     * the right to report to this task once, a token of RFC 9578
     */
    token?: ((task: {
        id: string;
        hash: string;
        deadline: number;
    }) => Promise<string | Uint8Array<ArrayBuffer>>) | undefined;
    /**
     * what a shopper who contributes agrees to; pinned by the page
     */
    terms?: import("./contribute/task.js").Terms | undefined;
    /**
     * GA4's, from which events are read; none is sent
     */
    dataLayer?: unknown[] | undefined;
    /**
     * of the store, for a page of several shops
     */
    name?: string | undefined;
};
