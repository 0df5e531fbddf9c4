// How a page asks the service: no cookie, no referrer, no id; every request is noted for the shopper's own eyes.
import { ShelfError } from "./errors.js";

/** What left the browser. @typedef {{ at: number, method: string, path: string, bytes: number }} Sent */

export class Service {
  /** Requests of this page, oldest first. @type {Sent[]} */ sent = [];
  /** @type {Record<string, string>} */ #headers;

  /**
   * @param {string} endpoint address of the service, https:// or on this machine
   * @param {string | undefined} key one that the shop published for all of its pages
   */
  constructor(endpoint, key) {
    const url = new URL(endpoint || globalThis.location.origin, globalThis.location?.href);
    const local = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname) || url.origin === globalThis.location?.origin;
    if (url.protocol !== "https:" && !(url.protocol === "http:" && local)) {
      throw new ShelfError("endpoint", "endpoint: must be https://, or http:// on this machine");
    }
    this.address = url.href.replace(/\/$/, "");
    this.#headers = key ? { authorization: `Bearer ${key}` } : {};
  }

  /**
   * Send a request. Throws ShelfError "offline" when there is no answer, "redirect" when another address answers.
   * @param {string} path
   * @param {{ method?: string, headers?: Record<string, string>, body?: Uint8Array<ArrayBuffer>, anonymous?: boolean }} [options]
   */
  async send(path, { method = "GET", headers = {}, body, anonymous = false } = {}) {
    this.sent.push({ at: Date.now(), method, path, bytes: body?.length ?? 0 });
    /** @type {Response} */
    let answer;
    try {
      answer = await fetch(this.address + path, {
        method, headers: anonymous ? headers : { ...this.#headers, ...headers }, body,
        credentials: "omit", referrerPolicy: "no-referrer", mode: "cors",
      });
    } catch {
      throw new ShelfError("offline", "service: cannot be asked");
    }
    if (new URL(answer.url || this.address).origin !== new URL(this.address).origin) {
      throw new ShelfError("redirect", "service: another address answers");
    }
    return answer;
  }
}
