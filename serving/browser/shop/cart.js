// The cart of this tab: the shop's own business, and no part of the SDK.
const NAME = "cart";

/** @returns {string[]} */
export function cartItems() {
  try {
    return JSON.parse(sessionStorage.getItem(NAME) ?? "[]");
  } catch {
    return [];
  }
}

/** @param {string[]} items */
export function setCart(items) {
  try {
    sessionStorage.setItem(NAME, JSON.stringify(items));
  } catch {
    /* a browser that stores nothing: the cart lasts as long as the page would show it */
  }
  dispatchEvent(new Event("cart"));
}
