/** What left the browser. @typedef {{ at: number, method: string, path: string, bytes: number }} Sent */
export class Service {
    /**
     * @param {string} endpoint address of the service, https:// or on this machine
     * @param {string | undefined} key one that the shop published for all of its pages
     */
    constructor(endpoint: string, key: string | undefined);
    /** Requests of this page, oldest first. @type {Sent[]} */ sent: Sent[];
    address: string;
    /**
     * Send a request. Throws ShelfError "offline" when there is no answer, "redirect" when another address answers.
     * @param {string} path
     * @param {{ method?: string, headers?: Record<string, string>, body?: Uint8Array<ArrayBuffer>, anonymous?: boolean }} [options]
     */
    send(path: string, { method, headers, body, anonymous }?: {
        method?: string;
        headers?: Record<string, string>;
        body?: Uint8Array<ArrayBuffer>;
        anonymous?: boolean;
    }): Promise<Response>;
    #private;
}
/**
 * What left the browser.
 */
export type Sent = {
    at: number;
    method: string;
    path: string;
    bytes: number;
};
