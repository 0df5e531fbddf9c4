// `npm run build`: the source as bundles, and its types, into dist. The same source makes the same files.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url)), outdir = process.argv[2] ?? `${here}dist`;
export const ENTRIES = ["index", "delta", "contribute", "data-layer", "widget", "rank"];

rmSync(outdir, { recursive: true, force: true });
mkdirSync(outdir, { recursive: true });
await build({
  entryPoints: ENTRIES.map((name) => `${here}src/${name}.js`),
  bundle: true, splitting: true, minify: true, format: "esm", target: "es2022", outdir, chunkNames: "shared-[hash]", logLevel: "warning",
  legalComments: "none", absWorkingDir: here,
});
execFileSync(`${here}node_modules/.bin/tsc`, ["--project", `${here}tsconfig.build.json`, "--outDir", outdir], { stdio: "inherit" });
