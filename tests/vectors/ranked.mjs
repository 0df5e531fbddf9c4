// What the SDK makes of the cases `rank` of surfaces.json, from standard input.
import { readFileSync } from "node:fs";
import { Catalogue, knownTo, rankItems, unbase64 } from "../../serving/browser/src/internals.js";

const KINDS = ["view", "cart", "purchase", "like", "dislike"];
const { now, histories, shops } = JSON.parse(readFileSync(0, "utf8"));
const answers = Object.values(shops).flatMap(({ catalogue, changes, answers: cases }) => {
  const made = new Catalogue(unbase64(catalogue)).withChanges(changes.changes);
  return cases.filter(({ rank }) => rank).map(({ history, rank: { items, ...asked } }) => {
    const events = histories[history].map(([item, kind, time]) => [time, item, typeof kind === "number" ? kind : KINDS.indexOf(kind), 1]);
    return rankItems(made, knownTo(events, made), items, { ...asked, now });
  });
});
console.log(JSON.stringify(answers));
