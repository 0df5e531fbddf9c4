// What tests and other chunks use beside the public names of index.js.
export { Catalogue } from "./catalogue.js";
export { recommend } from "./lists.js";
export { makeProfile } from "./profile.js";
export { knownTo } from "./history.js";
export { hex, unbase64, unhex } from "./contribute/bytes.js";
export { epsilonOf } from "./contribute/ledger.js";
export { checkLog } from "./contribute/log.js";
export { boundSquared, coordinateBound, roundPlan, samePlan, sensitivitySquared } from "./contribute/plan.js";
export { bindingOf, encode, reportBytes, seal, serviceShare, stream } from "./contribute/sealing.js";
export { SUITE, checkTask, isSigned, readTask, taskHash } from "./contribute/task.js";
export { trainingVectors } from "./contribute/update.js";
export { rankItems } from "./rank.js";
