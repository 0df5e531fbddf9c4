// Assignment as a browser would do it, by WebCrypto alone: prints the first n lines' JSON, and the SHA-256 of n lines.
const { subtle } = globalThis.crypto;
const text = new TextEncoder();

const field = (value) => {
  const bytes = text.encode(value);
  return [bytes.length >> 8, bytes.length & 255, ...bytes];
};

export async function bucket(key, purpose, name, n) {
  const message = new Uint8Array([...field("ownshelf/assignment/v1"), ...field(purpose), ...field(name)]);
  const digest = new DataView(await subtle.sign("HMAC", key, message));
  return Math.floor((digest.getUint32(0) * n) / 2 ** 32);
}

export async function armIndex(key, experiment, weights) {
  const at = await bucket(key, "arm", experiment, weights.reduce((a, b) => a + b, 0));
  let stop = 0;
  return weights.findIndex((weight) => at < (stop += weight));
}

async function line(i) {
  const secret = await subtle.digest("SHA-256", text.encode(`ownshelf/assignment-vector/${i}`));
  const key = await subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const thousand = Math.floor(i / 1000);
  const weights = Array.from({ length: 2 + (i % 3) }, (_, k) => k + 1);
  return Promise.all([
    bucket(key, "layer", `layer-${thousand % 7}`, 10000),
    bucket(key, "holdout", `layer-${thousand % 7}`, 10000),
    armIndex(key, `experiment-${thousand}`, weights),
  ]);
}

const n = Number(process.argv[2]);
const lines = [];
for (let at = 0; at < n; at += 500) {
  const some = Array.from({ length: Math.min(500, n - at) }, (_, k) => line(at + k));
  lines.push(...(await Promise.all(some)));
}
const all = text.encode(lines.map((one) => JSON.stringify(one) + "\n").join(""));
const hex = Buffer.from(await subtle.digest("SHA-256", all)).toString("hex");
console.log(JSON.stringify({ lines: n, sha256: hex, first: lines.slice(0, 1000) }));
