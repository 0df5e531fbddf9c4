// What tests and other chunks use beside the public names of index.js.
export { Catalogue } from "./catalogue.js";
export { recommend } from "./lists.js";
export { makeProfile } from "./profile.js";
