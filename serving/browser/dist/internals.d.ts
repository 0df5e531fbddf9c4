export { Catalogue } from "./catalogue.js";
export { recommend } from "./lists.js";
export { makeProfile } from "./profile.js";
