// Interleaving by docs/experiments.mjs: prints what it makes of the drafts and the tallies of interleaving.json.
import { readFileSync } from "node:fs";
import { coins, figures, preference, tallied, teamDraft } from "../../docs/experiments.mjs";

const { drafts, tallies } = JSON.parse(readFileSync(new URL("interleaving.json", import.meta.url)));

function contributions({ cap, windows }) {
  let now = [0, 0], said = [0, 0, 0];
  return windows.map((sessions) => {
    for (const session of sessions) now = tallied(now, session, cap);
    const risen = figures(now);
    const sent = risen.map((value, k) => value - said[k]);
    said = risen;
    return sent;
  });
}

const tossed = Array.from({ length: 200 }, () => coins(9)).flat();
console.log(JSON.stringify({
  drafts: drafts.map((one) => teamDraft(one.incumbent, one.challenger, one.k, one.heads)),
  tallies: tallies.map(contributions),
  preferences: [[1, 1, 0], [0, -1, 1], [0, 1, 1]].map((teams) => preference(teams, [true, true, false])),
  heads: [tossed.length, tossed.filter((one) => one === 1).length, tossed.filter((one) => one === 0).length],
}));
