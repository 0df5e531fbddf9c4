// `npm run size`: kilobytes of each chunk as it travels (gzip), against its bound. A chunk counts with all that it loads
// beside what is loaded already.
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const dist = fileURLToPath(new URL("dist/", import.meta.url));
const BOUNDS = { index: 16, contribute: 10, widget: 3, "data-layer": 2, delta: 2, rank: 2 };

const content = Object.fromEntries(readdirSync(dist).filter((name) => name.endsWith(".js"))
  .map((name) => [name.slice(0, -3), readFileSync(dist + name, "utf8")]));

/** The files that one statically imports, itself first. */
function loaded(name, seen = new Set()) {
  if (seen.has(name)) return seen;
  seen.add(name);
  for (const [, next] of content[name].matchAll(/(?:from|import)"\.\/([\w-]+)\.js"/g)) loaded(next, seen);
  return seen;
}

const kilobytes = (names) => [...names].reduce((sum, name) => sum + gzipSync(content[name], { level: 9 }).length, 0) / 1000;
const core = loaded("index");
const sizes = Object.fromEntries(Object.keys(BOUNDS).map((name) =>
  [name, kilobytes(name === "index" ? core : [...loaded(name)].filter((file) => !core.has(file)))]));
if (process.argv.includes("--json")) console.log(JSON.stringify(sizes));
else for (const [name, size] of Object.entries(sizes)) console.log(`${name.padEnd(12)} ${size.toFixed(1)} of ${BOUNDS[name]} kB`);
const large = Object.keys(sizes).filter((name) => sizes[name] > BOUNDS[name]);
if (large.length) {
  console.error(`too large: ${large.join(", ")}`);
  process.exitCode = 1;
}
