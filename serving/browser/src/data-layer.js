// GA4's e-commerce events, read where the shop puts them already; none is sent anywhere from here.

/** @typedef {Pick<import("./shelf.js").Shelf, "observe" | "retract">} Listener */
/** @typedef {{ item_id?: unknown, id?: unknown, quantity?: unknown }} Item */

/** GA4's name → what was done. Lists that were shown say nothing of the shopper. @type {Record<string, string>} */
const KINDS = { view_item: "view", select_item: "view", add_to_cart: "cart", purchase: "purchase", refund: "purchase" };

/**
 * Observe what is in a dataLayer already and whatever is pushed later. Returns what ends it.
 * @param {Listener} shelf
 * @param {unknown[]} dataLayer
 */
export function followDataLayer(shelf, dataLayer) {
  const push = dataLayer.push;
  for (const entry of [...dataLayer]) read(shelf, entry);
  dataLayer.push = (...entries) => {
    for (const entry of entries) read(shelf, entry);
    return push.apply(dataLayer, entries);
  };
  return () => void (dataLayer.push = push);
}

/** @param {Listener} shelf @param {any} entry of Tag Manager, or gtag's arguments */
function read(shelf, entry) {
  try {
    const tagged = entry?.[0] === "event", name = tagged ? entry[1] : entry?.event;
    const items = (tagged ? entry[2]?.items : entry?.ecommerce?.items) ?? [];
    if (!Object.hasOwn(KINDS, name)) return;
    const kind = KINDS[name], time = Date.now(); // one basket, one moment
    for (const { item_id: id, id: older, quantity } of /** @type {Item[]} */ (items)) {
      const item = String(id ?? older ?? ""), n = Number(quantity ?? 1);
      if (!item) continue;
      const done = name === "refund" ? shelf.retract(item, kind) : shelf.observe({ item, kind, time, quantity: n > 0 && n < Infinity ? n : 1 });
      done.catch(() => {}); // the shop's own tracking goes on
    }
  } catch {
    /* whatever else a page pushes */
  }
}
