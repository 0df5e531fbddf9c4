// The newer files that the SDK makes of [older file, difference] in base64, from standard input.
import { readFileSync } from "node:fs";
import { applyDelta } from "../../serving/browser/src/delta.js";

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const pairs = JSON.parse(readFileSync(0, "utf8"));
const made = await Promise.all(pairs.map(([old, delta]) => applyDelta(bytes(old), bytes(delta))));
console.log(JSON.stringify(made.map((file) => Buffer.from(file).toString("base64"))));
