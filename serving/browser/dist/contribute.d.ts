/**
 * Send one report to the open round, or finish sending the last one.
 * Throws ShelfError "task" for a task that is not as agreed, "offline" or "service" when there is none to be had.
 * @param {Contributor} device
 * @param {Terms} terms
 * @param {Timing} [timing]
 * @returns {Promise<Outcome>}
 */
export function contribute(device: Contributor, terms: Terms, timing?: Timing): Promise<Outcome>;
export type Terms = import("./contribute/task.js").Terms;
export type Task = import("./contribute/task.js").Task;
export type Account = import("./contribute/ledger.js").Account;
export type Bytes = import("./contribute/bytes.js").Bytes;
/**
 * What taking part needs of a shelf. change: replaces the account in one durable step. fetchBundle: the catalogue that
 * the service hands out now, without changes since.
 */
export type Contributor = {
    service: import("./service.js").Service;
    account: () => Account;
    change: (change: (account: Account) => Account) => Promise<unknown>;
    agrees: () => boolean;
    fetchBundle: () => Promise<import("./catalogue.js").Catalogue>;
    history: (catalogue: import("./catalogue.js").Catalogue) => import("./profile.js").History;
    token: (task: {
        id: string;
        hash: string;
        deadline: number;
    }) => Promise<string | Bytes>;
};
/**
 * spreadS: the report goes at a random moment of so many seconds, at most. stayS: how long this call waits for it.
 */
export type Timing = {
    spreadS?: number;
    stayS?: number;
    now?: () => number;
};
export type Status = "accepted" | "rejected" | "unsent" | "no_consent" | "no_round" | "too_early" | "took_part" | "cap_reached" | "period_full" | "budget_spent";
export type Outcome = {
    status: Status;
    comeBackAt: number;
    detail?: string;
    reportBytes?: number;
};
import { emptyAccount } from "./contribute/ledger.js";
import { epsilonOf } from "./contribute/ledger.js";
export { emptyAccount, epsilonOf };
