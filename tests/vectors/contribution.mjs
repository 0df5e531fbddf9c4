// The device's half of the private sum by the SDK: docs/wire-vectors.json, and cases of tests/vectors/contribution.py.

const bytes = (sdk, text) => sdk.unhex(text);

/** What differs from the vectors, by name. @param {any} sdk serving/browser/src/internals.js */
export async function wireDifferences(sdk, vectors) {
  const wrong = [], { hex, unhex } = sdk;
  const check = (name, made, wanted) => made === wanted || wrong.push(`${name}: ${made} instead of ${wanted}`);
  for (const { seed, words } of vectors.stream) check("stream", String(await sdk.stream(unhex(seed), words.length)), String(words));
  for (const part of vectors.bounds) {
    check("bound", sdk.boundSquared(part).toString(), String(part.bound_squared));
    check("coordinate bound", sdk.coordinateBound(part), part.coordinate_bound);
  }
  for (const { vectors: parts, random, integers } of vectors.rounding) {
    let at = 0;
    const given = unhex(random), draw = (n) => given.slice(at, (at += n));
    const words = sdk.encode({ parts: vectors.tasks[0].parts }, parts, draw);
    check("rounding", String(new Int32Array(words.buffer)), String(integers));
  }
  for (const { integers, seed, service_share: share } of vectors.shares) {
    check("share", hex(await sdk.serviceShare(new Uint32Array(Int32Array.from(integers).buffer), unhex(seed))), share);
  }
  const custodian = unhex(vectors.custodian.public_key);
  for (const wanted of vectors.tasks) {
    const task = sdk.readTask(unhex(wanted.bytes));
    check("task", JSON.stringify([task.id, task.round, task.bundleVersion, hex(task.bundleHash), task.blocks.map(({ start, stop }) => [start, stop])]),
      JSON.stringify([wanted.task_id, wanted.round, wanted.bundle_version, wanted.bundle_hash, wanted.blocks]));
    check("plan", sdk.samePlan(task.plan, wanted), true);
    check("sensitivity", sdk.sensitivitySquared(task.plan).toString(), String(wanted.sensitivity_squared));
    check("times", `${task.deadline} ${task.comeBackAt} ${task.suite} ${hex(task.key)}`, `${wanted.deadline} ${wanted.come_back_at} ${wanted.suite} ${wanted.round_public_key}`);
    check("signed bytes", hex(task.signedBytes), wanted.signed_bytes);
    check("hash", hex(await sdk.taskHash(task)), wanted.hash);
    check("signature", await sdk.isSigned(task, custodian), true);
  }
  check("changed signature", await sdk.isSigned(sdk.readTask(unhex(vectors.unsigned_change)), custodian), false);
  const sealing = vectors.sealing.find(({ suite }) => suite === sdk.SUITE);
  const info = sdk.bindingOf(unhex(sealing.task_hash), unhex(sealing.report_id), sealing.block, sealing.length);
  check("info", hex(info), sealing.info);
  const pair = await x25519(sdk, sealing.ephemeral_private_key, sealing.sealed_seed.slice(0, 64));
  check("sealed seed", hex(await sdk.seal(unhex(sealing.public_key), info, unhex(sealing.seed), pair)), sealing.sealed_seed);
  const { report } = vectors;
  check("report", hex(sdk.reportBytes({
    taskId: report.task_id, reportId: unhex(report.report_id), block: report.block, sealedSeed: unhex(report.sealed_seed),
    token: unhex(report.token), serviceShare: unhex(report.service_share),
  })), report.bytes);
  return wrong;
}

async function x25519(sdk, privateKey, publicKey) {
  const pkcs8 = bytes(sdk, `302e020100300506032b656e04220420${privateKey}`);
  return {
    privateKey: await crypto.subtle.importKey("pkcs8", pkcs8, { name: "X25519" }, false, ["deriveBits"]),
    publicKey: await crypto.subtle.importKey("raw", bytes(sdk, publicKey), { name: "X25519" }, true, []),
  };
}

/** What the SDK makes of cases of contribution.py. */
export async function answers(sdk, cases) {
  const plans = cases.plans.map(({ privacy, n_block, width, trained }) => {
    try {
      return sdk.roundPlan(privacy, n_block, width, trained);
    } catch (error) {
      return error.code;
    }
  });
  const updates = cases.updates.map(({ file, events, now, task, block, trained, measures_only }) => {
    const catalogue = new sdk.Catalogue(sdk.unbase64(file));
    const history = sdk.knownTo(events, catalogue), read = sdk.readTask(sdk.unhex(task));
    const made = sdk.trainingVectors(catalogue, history, now, read, block, trained, measures_only);
    return Object.fromEntries(Object.entries(made).map(([name, vector]) => [name, [...vector]]));
  });
  const shares = await Promise.all(cases.reports.map(async ({ plan, vectors, random, seed }) => {
    let at = 0;
    const given = sdk.unhex(random), words = sdk.encode(plan, vectors, (n) => given.slice(at, (at += n)));
    return { words: [...words], share: sdk.hex(await sdk.serviceShare(words, sdk.unhex(seed))) };
  }));
  const epsilons = cases.epsilons.map(({ rho, delta }) => sdk.epsilonOf({ entries: rho.map((one) => ({ rho: one })) }, delta));
  const proofs = await Promise.all(cases.proofs.map(async ({ proof, task, key, seen }) => {
    try {
      const head = await sdk.checkLog(sdk.unhex(proof), sdk.unhex(task), sdk.unhex(key), seen && { size: seen[0], root: sdk.unhex(seen[1]) });
      return [head.size, sdk.hex(head.root)];
    } catch (error) {
      return error.code;
    }
  }));
  const tasks = await Promise.all(cases.tasks.map(async ({ task, key, plan, now, terms }) => {
    try {
      return await sdk.checkTask(sdk.readTask(sdk.unhex(task)), { custodianKey: key, plan, ...terms }, sdk.unhex(key), now);
    } catch (error) {
      return error.code === "task" ? error.message : `${error}`;
    }
  }));
  return { plans, updates, shares, epsilons, proofs, tasks };
}

if (typeof process !== "undefined" && process.argv[1]?.endsWith("contribution.mjs")) {
  const { readFileSync } = await import("node:fs");
  const sdk = await import("../../serving/browser/src/internals.js");
  const { wire, cases } = JSON.parse(readFileSync(0, "utf8"));
  console.log(JSON.stringify({ wrong: await wireDifferences(sdk, wire), made: await answers(sdk, cases) }));
}
