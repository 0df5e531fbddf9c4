// The pages of the shop: each asks the SDK for its shelves and builds what is shown.
import { opinionButtons, shelfOf } from "./cards.js";
import { cartItems, setCart } from "./cart.js";
import { ALL, departmentOf, readable } from "./departments.js";
import { element, pounds, say } from "./dom.js";
import { tile } from "./tiles.js";

/** @typedef {import("../src/shelf.js").Shelf} Shelf */
/** @typedef {import("../src/lists.js").Listed} Listed */
/** @typedef {import("../src/catalogue.js").Catalogue} Catalogue */

const REASONS = { reasons: true };

/** @param {Shelf} shelf */
export async function homePage(shelf) {
  const catalogue = await items(shelf), own = (await shelf.profile()).events > 0;
  const [forYou, because, trending, recent, again] = await Promise.all([
    shelf.recommend("for-you", { topK: 12, diversity: 0.2, ...REASONS }), shelf.recommend("because-you-viewed", { topK: 12 }),
    shelf.recommend("trending", { topK: 12 }), shelf.recommend("recently-viewed", { topK: 12 }), shelf.recommend("buy-again", { topK: 12 }),
  ]);
  const rows = own ? await departmentRows(shelf, catalogue) : [];
  const last = recent.items[0];
  return [
    element("h1", {}, own ? "Good to see you again" : "Small things for a warm house"),
    element("p", { className: "lead" }, own
      ? "These shelves were made in this page, from what this browser remembers. Nothing of it was sent."
      : "Look around. The shelves will follow what you look at, and only this browser will know why."),
    shelfOf(shelf, forYou.fallback ? "Popular now" : "For you", forYou.items, { id: "for-you", row: false, note: forYou.fallback ? undefined : "ranked on this device" }),
    own && last && shelfOf(shelf, `Because you looked at ${readable(last.title)}`, because.items, { id: "because" }),
    !forYou.fallback && shelfOf(shelf, "Trending", trending.items, { id: "trending", note: "the same for everybody" }),
    ...rows,
    shelfOf(shelf, "Buy again", again.items, { id: "again" }),
    shelfOf(shelf, "Recently viewed", recent.items, { id: "recent" }),
  ];
}

/** Departments this shopper looks at most, each with its items. @param {Shelf} shelf @param {Catalogue} catalogue */
async function departmentRows(shelf, catalogue) {
  const { items: top } = await shelf.recommend("for-you", { topK: 60 });
  /** @type {Map<string, number>} */
  const weights = new Map();
  top.forEach(({ title }, place) => {
    const { id } = departmentOf(title ?? "");
    weights.set(id, (weights.get(id) ?? 0) + 1 / (place + 5));
  });
  const chosen = [...weights].sort((a, b) => b[1] - a[1]).slice(0, 3);
  return Promise.all(chosen.map(async ([id]) => {
    const { items: listed } = await shelf.recommend("new-for-you", { topK: 12, filter: only(ofDepartment(catalogue, id)), ...REASONS });
    return shelfOf(shelf, ALL.find((department) => department.id === id)?.name ?? id, listed, { id: `row-${id}`, note: "new to you" });
  }));
}

/** @param {Shelf} shelf @param {string} id */
export async function departmentPage(shelf, id) {
  const catalogue = await items(shelf), department = ALL.find((some) => some.id === id);
  if (!department) return nothingPage();
  const places = ofDepartment(catalogue, id).map((item) => catalogue.index.get(item) ?? 0);
  return listing(shelf, catalogue, department.name, places, "category");
}

/** @param {Shelf} shelf @param {string} query */
export async function searchPage(shelf, query) {
  const catalogue = await items(shelf), words = query.toUpperCase().match(/[A-Z0-9]+/g) ?? [];
  const hits = catalogue.titles.flatMap((title, place) =>
    words.length && words.every((word) => title?.toUpperCase().includes(word)) ? [place] : []);
  return listing(shelf, catalogue, `“${query}”`, hits, "search");
}

/** A search or category page: in the shop's order, or ranked in the page. @param {Shelf} shelf @param {Catalogue} catalogue @param {string} heading @param {number[]} hits @param {string} kind */
async function listing(shelf, catalogue, heading, hits, kind) {
  const byShop = hits.filter((place) => catalogue.available[place]).sort((a, b) => catalogue.trend[b] - catalogue.trend[a] || a - b);
  const shown = element("div", {}), count = byShop.length;
  const toggle = element("input", { type: "checkbox", id: "as-shop" });
  const draw = async () => {
    const shopOrder = /** @type {HTMLInputElement} */ (toggle).checked;
    const { items: listed } = !count ? { items: [] } : shopOrder
      ? { items: byShop.slice(0, 48).map((place) => bare(catalogue, place)) }
      : await shelf.recommend("for-you", { topK: 48, filter: only(byShop, catalogue), ...REASONS });
    shown.replaceChildren(shelfOf(shelf, shopOrder ? "As the shop sorts" : "Ranked in this page", listed, { row: false, id: kind })
      ?? element("p", { className: "empty" }, "Nothing here. Try a shorter word."));
  };
  toggle.addEventListener("change", draw);
  await draw();
  return [
    element("h1", {}, heading), element("p", { className: "lead" }, `${count} ${count === 1 ? "item" : "items"}`),
    count > 0 && element("label", { className: "switch" }, toggle, "as the shop sorts"), shown,
  ];
}

/** @param {Shelf} shelf @param {string} item */
export async function productPage(shelf, item) {
  const catalogue = await items(shelf), place = catalogue.index.get(item);
  if (place === undefined) return nothingPage();
  const [similar, goes, recent] = await Promise.all([
    shelf.recommend("similar", { context: item, topK: 12 }), shelf.recommend("goes-with", { context: item, topK: 12 }),
    shelf.recommend("recently-viewed", { topK: 12, exclude: [item] }),
  ]);
  const title = catalogue.titles[place], name = readable(title), department = departmentOf(title ?? "");
  return [
    element("p", { className: "lead" }, element("a", { href: `#/department/${department.id}` }, department.name)),
    element("article", { className: "product" }, tile(item, title ?? item), element("div", {},
      element("h1", {}, name), element("p", { className: "price" }, pounds(catalogue.prices[place])),
      element("div", { className: "large-acts" },
        element("button", { type: "button", id: "add", onclick: async () => {
          setCart([...cartItems(), item]);
          await shelf.observe({ item, kind: "cart" });
          say(`${name} is in the cart`);
        } }, "Add to cart"), ...opinionButtons(shelf, item, name, true)),
      element("p", { className: "lead" }, `Item ${item}. That you are here is known to this browser alone.`))),
    shelfOf(shelf, "Similar", similar.items, { id: "similar" }), shelfOf(shelf, "Goes well with it", goes.items, { id: "goes-with" }),
    shelfOf(shelf, "Recently viewed", recent.items, { id: "recent" }),
  ];
}

/** @param {Shelf} shelf */
export async function cartPage(shelf) {
  const catalogue = await items(shelf), cart = cartItems().filter((item) => catalogue.index.has(item));
  if (!cart.length) {
    const { items: again } = await shelf.recommend("buy-again", { topK: 12 });
    return [element("h1", {}, "Your cart"), element("p", { className: "empty" }, "It is empty."), shelfOf(shelf, "Buy again", again, { id: "again" })];
  }
  const goes = await shelf.recommend("goes-with", { cart, topK: 12 });
  const lines = cart.map((item, at) => {
    const { title, price } = bare(catalogue, catalogue.index.get(item) ?? 0), name = readable(title);
    return element("li", {}, tile(item, title ?? item), element("a", { href: `#/item/${encodeURIComponent(item)}` }, name), element("span", {}, pounds(price)),
      element("button", { type: "button", className: "quiet", "aria-label": `Take out ${name}`, onclick: () => setCart(cart.filter((_, other) => other !== at)) }, "Take out"));
  });
  const total = cart.reduce((sum, item) => sum + (bare(catalogue, catalogue.index.get(item) ?? 0).price ?? 0), 0);
  return [
    element("h1", {}, "Your cart"), element("ul", { className: "lines" }, ...lines), element("p", { className: "total" }, `Total ${pounds(total)}`),
    element("button", { type: "button", id: "buy", onclick: async () => {
      setCart([]);
      const time = Date.now(); // one basket
      for (const item of cart) await shelf.observe({ item, kind: "purchase", time });
      say("Bought, as far as this demo goes");
      location.hash = "#/";
    } }, "Buy (nothing is charged)"),
    shelfOf(shelf, "Goes well with your cart", goes.items, { id: "goes-with" }),
  ];
}

export function nothingPage() {
  return [element("h1", {}, "There is nothing here"), element("p", {}, element("a", { href: "#/" }, "Back to the shop"))];
}

/** @param {Shelf} shelf @returns {Promise<Catalogue>} */
async function items(shelf) {
  if (!shelf.catalogue) await shelf.refresh();
  return /** @type {Catalogue} */ (shelf.catalogue);
}

/** @param {Catalogue} catalogue @param {string} id */
function ofDepartment(catalogue, id) {
  return catalogue.ids.filter((_, place) => departmentOf(catalogue.titles[place] ?? "").id === id);
}

/** A filter of some items, at most as many as one may name. @param {(number | string)[]} some @param {Catalogue} [catalogue] */
function only(some, catalogue) {
  return { item_id: some.slice(0, 1000).map((item) => (typeof item === "string" ? item : catalogue?.ids[item])) };
}

/** @param {Catalogue} catalogue @param {number} place @returns {Listed} */
function bare(catalogue, place) {
  return { item: catalogue.ids[place], score: 0, title: catalogue.titles[place], category: null, price: catalogue.prices[place], reason: null };
}
