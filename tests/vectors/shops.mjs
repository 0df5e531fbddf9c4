// What the SDK lists in each shop of tests/vectors/shops.py: by Node with the shops on standard input, or in a page.

const KINDS = ["view", "cart", "purchase", "like", "dislike"];

/** @param {any} sdk the module serving/browser/src/internals.js */
export function answer(sdk, shops) {
  return shops.map((shop) => {
    const file = Uint8Array.from(atob(shop.file), (letter) => letter.charCodeAt(0));
    const catalogue = new sdk.Catalogue(file).withChanges(shop.changes);
    const known = shop.events.filter(([id]) => catalogue.index.has(id));
    const history = {
      item: Int32Array.from(known, ([id]) => catalogue.index.get(id)),
      kind: Uint8Array.from(known, ([, kind]) => KINDS.indexOf(kind)),
      time: Float64Array.from(known, ([, , time]) => time),
    };
    return {
      profile: known.length ? profile(sdk, catalogue, history, shop.now) : null,
      calls: shop.calls.map(({ placement, asked }) => {
        const { items, fallback } = sdk.recommend(catalogue, history, placement, { ...asked, now: shop.now });
        return {
          items: items.map(({ item }) => item),
          scores: items.map(({ score }) => score),
          reasons: items.map(({ reason }) => reason),
          fallback,
        };
      }),
    };
  });
}

function profile(sdk, catalogue, history, now) {
  const { taste, intent } = sdk.makeProfile(catalogue, history, now);
  const share = catalogue.intent ? catalogue.config.intent_share : 0;
  return [...taste.map((value) => Math.fround(1 - share) * value), ...(intent ?? []).map((value) => Math.fround(share) * value)];
}

if (typeof process !== "undefined" && process.argv[1]?.endsWith("shops.mjs")) {
  const { readFileSync } = await import("node:fs");
  const sdk = await import("../../serving/browser/src/internals.js");
  console.log(JSON.stringify(answer(sdk, JSON.parse(readFileSync(0, "utf8")))));
}
