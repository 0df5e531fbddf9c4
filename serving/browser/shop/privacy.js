// "Your data": what this browser knows, every byte that left it, and the shopper's rights, each one button.
import { readable } from "./departments.js";
import { element, say, svg } from "./dom.js";

/** @typedef {import("../src/shelf.js").Shelf} Shelf */

/** @type {[import("../src/shopper.js").Consent, string, string][]} */
const CHOICES = [
  ["nothing", "Nothing", "No shelf is made for you; everybody sees these."],
  ["session", "Only this visit", "In this page's memory, gone when you leave it."],
  ["observe", "Remember here", "Sealed in this browser by a key that no script can read."],
];
const DONE = { view: "looked at", cart: "put in the cart", purchase: "bought", like: "liked", dislike: "not for me" };

/** @param {Shelf} shelf */
export async function privacyPage(shelf) {
  const own = await shelf.profile(), bytes = own.sent.reduce((sum, { bytes: some }) => sum + some, 0);
  const title = (/** @type {string} */ item) => readable(shelf.catalogue?.titles[shelf.catalogue.index.get(item) ?? -1] ?? item);
  return [
    element("h1", {}, "Your data"),
    element("p", { className: "lead" }, "Everything on this page was read from this browser, for your eyes."),
    element("div", { className: "panels" },
      element("section", { className: "panel", "aria-labelledby": "left" }, element("h2", { id: "left" }, "What left this browser"),
        element("p", {}, element("span", { className: "big", id: "bytes-of-mine" }, `${bytes} bytes`), " of yours: the shelves are made here, from files that are the same for everybody."),
        element("p", {}, `${own.sent.length} ${own.sent.length === 1 ? "request" : "requests"} of this page to the service, each without cookie, name or number of yours:`),
        element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Requests" }, element("table", {},
          element("thead", {}, element("tr", {}, ...["when", "asked for", "bytes sent"].map((name, at) => element("th", { scope: "col", className: at === 2 ? "number" : "" }, name)))),
          element("tbody", {}, ...own.sent.map(({ at, method, path, bytes: some }) => element("tr", {},
            element("td", {}, new Date(at).toLocaleTimeString()), element("td", {}, `${method} ${path}`), element("td", { className: "number" }, String(some)))))))),
      element("section", { className: "panel", "aria-labelledby": "choice" }, element("h2", { id: "choice" }, "Your choice"),
        element("fieldset", {}, element("legend", {}, "May this browser remember what you do here?"),
          ...CHOICES.map(([value, name, what]) => element("label", { className: "choice" },
            element("input", { type: "radio", name: "consent", value, checked: own.consent === value, onchange: () => shelf.setConsent(value) }),
            element("span", {}, element("strong", {}, name), element("br"), what)))),
        element("p", {}, own.storage === "sealed" ? "Kept: sealed on this device." : "Kept: nothing; this page remembers for itself."),
        element("div", { className: "buttons" },
          element("button", { type: "button", className: "quiet", onclick: () => download(shelf) }, "Export"),
          element("label", { className: "hidden", htmlFor: "import" }, "Import an export"),
          element("input", { type: "file", id: "import", accept: "application/json", onchange: (/** @type {Event} */ event) => load(shelf, event) }),
          element("button", { type: "button", id: "erase", onclick: async () => {
            await shelf.erase();
            say("Erased. Nothing is left here.");
          } }, "Erase everything"))),
      element("section", { className: "panel", "aria-labelledby": "seen" }, element("h2", { id: "seen" }, `What this browser knows (${own.events})`),
        own.events ? element("ul", { className: "events" }, ...own.recent.map(({ item, kind }) => element("li", {},
          element("span", {}, `${DONE[/** @type {keyof typeof DONE} */ (kind)]}: ${title(item)}`),
          element("button", { type: "button", className: "quiet", "aria-label": `Forget ${title(item)}`, onclick: async () => {
            await shelf.forget(item);
            say("Forgotten");
          } }, "Forget")))) : element("p", { className: "empty" }, "Nothing yet."),
        own.categories.length > 0 && element("div", {}, ...own.categories.slice(0, 5).map(({ category, share }) => element("p", {}, category, meter(share)))))),
  ];
}

/** @param {number} share */
function meter(share) {
  return element("span", { className: "meter" }, svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { width: 100 * share, height: 8, fill: "currentColor" })));
}

/** @param {Shelf} shelf */
async function download(shelf) {
  const address = URL.createObjectURL(new Blob([await shelf.export()], { type: "application/json" }));
  element("a", { href: address, download: "my-shelf.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** @param {Shelf} shelf @param {Event} event */
async function load(shelf, event) {
  const file = /** @type {HTMLInputElement} */ (event.target).files?.[0];
  if (!file) return;
  try {
    say(`${await shelf.import(await file.text())} events added`);
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
}
