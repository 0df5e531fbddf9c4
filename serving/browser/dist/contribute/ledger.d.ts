/**
 * ε over the whole life at δ, after so much more.
 * @param {Account} account
 * @param {number} delta
 * @param {number} [more] ρ
 */
export function epsilonOf({ entries }: Account, delta: number, more?: number): number;
export function emptyAccount(): Account;
/**
 * One participation, written before its report is sent. rho: null without noise.
 */
export type Entry = {
    task: string;
    round: number;
    at: number;
    rho: number | null;
};
/**
 * pending: a report that may have to be sent again, byte for byte.
 */
export type Pending = {
    task: string;
    deadline: number;
    postAt: number;
    report: string;
};
export type Account = {
    entries: Entry[];
    pending: Pending | null;
    comeBackAt: number;
    measuresOnly: boolean | null;
    logHead: {
        size: number;
        root: string;
    } | null;
};
