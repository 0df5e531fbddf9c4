// The demo shop: one page, its parts chosen by what follows # in the address, so that the service sees no item's name.
// @ts-ignore: served beside this folder, from dist
import { open as openShelf } from "../sdk/index.js";
import { cartItems } from "./cart.js";
import { ALL } from "./departments.js";
import { element } from "./dom.js";
import { cartPage, departmentPage, homePage, nothingPage, productPage, searchPage } from "./pages.js";
import { privacyPage } from "./privacy.js";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** @type {typeof import("../src/index.js").open} */
const open = openShelf;
const shelf = await open({ consent: "session" });
/** For the console, and for whoever wants to try the SDK by hand. */
Object.assign(globalThis, { shelf });

let drawn = 0, viewed = "";

/** @param {string} address what follows # */
async function parts(address) {
  const [, page = "", argument = ""] = address.split("/").map(decodeURIComponent);
  switch (page) {
    case "": return homePage(shelf);
    case "department": return departmentPage(shelf, argument);
    case "search": return searchPage(shelf, argument);
    case "item":
      if (viewed !== address) {
        viewed = address;
        if (shelf.catalogue?.index.has(argument)) await shelf.observe({ item: argument, kind: "view" });
      }
      return productPage(shelf, argument);
    case "cart": return cartPage(shelf);
    case "data": return privacyPage(shelf);
    default: return nothingPage();
  }
}

/** Build the page anew. moved: whether the shopper went to another one. @param {boolean} moved */
async function draw(moved) {
  const turn = ++drawn, address = location.hash.slice(1) || "/";
  try {
    if (!shelf.catalogue) await shelf.refresh();
    const made = (await parts(address)).filter((part) => part instanceof Node);
    if (turn !== drawn) return; // a later one is on its way
    main.replaceChildren(...made);
  } catch (error) {
    main.replaceChildren(element("p", { className: "wait", role: "alert" }, `The shelves cannot be made: ${/** @type {Error} */ (error).message}`));
  }
  if (moved) {
    viewed = address.startsWith("/item/") ? address : "";
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
    document.title = `${main.querySelector("h1")?.textContent ?? "Shop"} · Hearth & Ribbon`;
  }
  const choice = /** @type {HTMLElement} */ (document.getElementById("consent"));
  choice.hidden = shelf.consent !== "session" || asked() || address.startsWith("/data");
  for (const link of document.querySelectorAll("#departments a")) {
    if (link.getAttribute("href") === `#${address}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

let answered = false;
const asked = () => answered;

let pending = 0;
/** Build the page anew soon: many changes are one. */
function drawSoon() {
  clearTimeout(pending);
  pending = setTimeout(() => draw(false), 60);
}

document.getElementById("departments")?.append(...ALL.map(({ id, name }) => element("a", { href: `#/department/${id}` }, name)));
document.getElementById("search")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const query = /** @type {HTMLInputElement} */ (document.getElementById("query")).value.trim();
  if (query) location.hash = `#/search/${encodeURIComponent(query)}`;
});
document.getElementById("consent-yes")?.addEventListener("click", () => {
  answered = true;
  shelf.setConsent("observe");
});
document.getElementById("consent-no")?.addEventListener("click", () => {
  answered = true;
  draw(false);
});
function count() {
  const shown = document.getElementById("cart-count");
  if (shown) shown.textContent = String(cartItems().length);
}
addEventListener("cart", () => {
  count();
  if (location.hash === "#/cart") drawSoon();
});
addEventListener("hashchange", () => draw(true));
for (const name of /** @type {const} */ (["history", "catalogue", "consent"])) shelf.on(name, drawSoon);
count();
await draw(true);
