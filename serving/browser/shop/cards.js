// Shelves of cards: a list that the SDK made, each item with its tile, why it is there, and what the shopper thinks of it.
import { readable } from "./departments.js";
import { element, pounds, say, svg } from "./dom.js";
import { tile } from "./tiles.js";

/** @typedef {import("../src/shelf.js").Shelf} Shelf */
/** @typedef {import("../src/lists.js").Listed} Listed */

const THUMB = "M8 21H5a1 1 0 0 1-1-1v-8a1 1 0 0 1 1-1h3m0 10V11m0 10h9.300a2 2 0 0 0 2-1.600l1.300-6A2 2 0 0 0 18.600 11H14l.8-4.200A2.300 2.300 0 0 0 12.600 4L8 11";

/** What the shopper said in this page about items. @type {Map<string, "like" | "dislike">} */
const opinions = new Map();

/** @param {boolean} down */
function thumb(down) {
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", ...(down ? { transform: "rotate(180)" } : {}) },
    svg("path", { d: THUMB, fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linejoin": "round" }));
}

/**
 * Buttons for like and dislike.
 * @param {Shelf} shelf @param {string} item @param {string} name @param {boolean} [words] whether they are spelled out
 */
export function opinionButtons(shelf, item, name, words = false) {
  return /** @type {const} */ (["like", "dislike"]).map((kind) => {
    const label = kind === "like" ? "I like it" : "Not for me";
    return element("button", {
      type: "button", class: words ? "quiet" : undefined, className: words ? "quiet" : "",
      "aria-pressed": String(opinions.get(item) === kind), "aria-label": words ? undefined : `${label}: ${name}`, title: label,
      onclick: async () => {
        opinions.set(item, kind);
        await shelf.observe({ item, kind });
        say(`${label}: ${name}. The shelves know it.`);
      },
    }, thumb(kind === "dislike"), words ? label : null);
  });
}

/**
 * One card. @param {Shelf} shelf @param {Listed} listed
 */
export function card(shelf, { item, title, price, reason }) {
  const name = readable(title);
  const because = element("p", { className: "because", hidden: true }, reason ? reasonText(reason.text) : "");
  return element("li", { className: "card" },
    element("a", { href: `#/item/${encodeURIComponent(item)}` }, tile(item, title ?? item),
      element("div", { className: "text" }, element("div", { className: "name" }, name), element("div", { className: "price" }, pounds(price)))),
    element("div", { className: "acts" }, ...opinionButtons(shelf, item, name),
      reason && element("details", { className: "why", ontoggle: (/** @type {Event} */ event) => {
        because.hidden = !(/** @type {HTMLDetailsElement} */ (event.target).open);
      } }, element("summary", { "aria-label": `Why this? ${name}` }, "why this?"))),
    because);
}

/** @param {string} text "because you viewed WHITE MUG" */
function reasonText(text) {
  const [, verb, title] = /^(because you (?:viewed|put|bought|liked|disliked)) (?!it before)(.+)$/.exec(text) ?? [];
  const said = verb ? `${verb} ${readable(title)}` : text;
  return said[0].toUpperCase() + said.slice(1) + ".";
}

/**
 * A shelf with its heading; null for an empty list.
 * @param {Shelf} shelf @param {string} heading @param {Listed[]} items @param {{ note?: string, row?: boolean, id?: string }} [options]
 */
export function shelfOf(shelf, heading, items, { note, row = true, id } = {}) {
  if (!items.length) return null;
  const list = element("ul", { className: "cards", ...(row ? { tabIndex: 0, role: "list", "aria-label": heading } : {}) },
    ...items.map((listed) => card(shelf, listed)));
  return element("section", { className: `shelf${row ? " row" : ""}`, "data-shelf": id, "aria-label": heading },
    element("div", { className: "shelf-head" }, element("h2", {}, heading), note && element("p", {}, note)), list);
}
