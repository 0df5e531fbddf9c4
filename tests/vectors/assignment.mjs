// Assignment by docs/experiments.mjs: `node assignment.mjs 100000` prints the SHA-256 of so many lines of the vectors
// (assignment.py says by which rule) and the first thousand; with a step, every so manieth line instead.
// With "-" after it: the arm of each [definition, secret in hex] on standard input.
import { readFileSync } from "node:fs";
import { armIndex, assign, bucket, secretKey } from "../../docs/experiments.mjs";

const { subtle } = globalThis.crypto;
const text = new TextEncoder();

async function line(i) {
  const key = await secretKey(await subtle.digest("SHA-256", text.encode(`ownshelf/assignment-vector/${i}`)));
  const thousand = Math.floor(i / 1000);
  const weights = Array.from({ length: 2 + (i % 3) }, (_, k) => k + 1);
  return Promise.all([
    bucket(key, "layer", `layer-${thousand % 7}`, 10000),
    bucket(key, "holdout", `layer-${thousand % 7}`, 10000),
    armIndex(key, `experiment-${thousand}`, weights),
  ]);
}

const [n, step] = [Number(process.argv[2]), Number(process.argv[3] ?? 1)];
const lines = [];
for (let at = 0; at < n; at += 500 * step) {
  const some = Array.from({ length: Math.min(500, Math.ceil((n - at) / step)) }, (_, k) => line(at + k * step));
  lines.push(...(await Promise.all(some)));
}
const all = text.encode(lines.map((one) => JSON.stringify(one) + "\n").join(""));
const sha256 = Buffer.from(await subtle.digest("SHA-256", all)).toString("hex");
const asked = process.argv[4] === "-" ? JSON.parse(readFileSync(0)) : [];
const assigned = await Promise.all(
  asked.map(async ([definition, secret]) => assign(definition, await secretKey(Buffer.from(secret, "hex")))),
);
console.log(JSON.stringify({ sha256, lines: lines.slice(0, 1000 * step), assigned }));
