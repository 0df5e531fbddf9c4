// <ownshelf-shelf placement="for-you">: a shelf as an element, styled by its parts; optional.

/** @typedef {import("./shelf.js").Shelf} Shelf */
/** @typedef {import("./lists.js").Listed} Listed */

/** @param {string} name @param {string} part @param {...(Node | string)} children */
function made(name, part, ...children) {
  const element = document.createElement(name);
  element.setAttribute("part", part);
  element.append(...children);
  return element;
}

/**
 * Define the element for a shelf. Attributes: placement, heading, top-k, context, href and image ("/items/{item}").
 * Parts: heading, list, item, link, image, title, price, why, dismiss, skeleton.
 * @param {Shelf} shelf
 * @param {{ name?: string, words?: { why: string, dismiss: string }, price?: (price: number) => string }} [options]
 */
export function defineShelf(shelf, { name = "ownshelf-shelf", words = { why: "why this?", dismiss: "not interested" }, price = String } = {}) {
  customElements.define(name, class extends HTMLElement {
    static observedAttributes = ["placement", "context", "top-k", "heading"];
    #root = this.attachShadow({ mode: "open" });
    /** @type {(() => void)[]} */ #ends = [];
    #turn = 0;

    connectedCallback() {
      const style = document.createElement("style");
      style.textContent = ":host{display:block}ul{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(140px,200px);gap:12px;overflow-x:auto;list-style:none;margin:0;padding:0}img{width:100%;aspect-ratio:1;object-fit:contain}[part=skeleton]{height:180px;background:#8883;border-radius:8px}[part~=dismiss]{font:inherit}";
      this.#root.replaceChildren(style, made("div", "body", made("ul", "list", ...Array.from({ length: 4 }, () => made("li", "skeleton")))));
      this.setAttribute("aria-busy", "true");
      this.#ends = [shelf.on("history", () => this.draw()), shelf.on("catalogue", () => this.draw())];
      this.draw();
    }

    disconnectedCallback() {
      for (const end of this.#ends) end();
    }

    attributeChangedCallback() {
      if (this.isConnected) this.draw();
    }

    /** Make the list anew; an empty one, or one that cannot be made, leaves nothing. */
    async draw() {
      const turn = ++this.#turn, context = this.getAttribute("context") ?? undefined;
      const asked = { topK: Number(this.getAttribute("top-k") ?? 12), context, reasons: true };
      const { items } = await shelf.recommend(this.getAttribute("placement") ?? "for-you", asked).catch(() => ({ items: [] }));
      if (turn !== this.#turn) return;
      const heading = this.getAttribute("heading") ?? "", list = made("ul", "list", ...items.map((item) => this.#item(item)));
      list.setAttribute("aria-label", heading || "Recommendations");
      list.tabIndex = 0;
      this.#root.lastElementChild?.replaceChildren(...(heading && items.length ? [made("h2", "heading", heading)] : []), ...(items.length ? [list] : []));
      this.removeAttribute("aria-busy");
    }

    /** @param {Listed} listed */
    #item({ item, title, price: amount, reason }) {
      const address = (/** @type {string} */ pattern) => (this.getAttribute(pattern) ?? "").replace("{item}", encodeURIComponent(item));
      const link = /** @type {HTMLAnchorElement} */ (made("a", "link")), label = title ?? item;
      link.href = address("href") || "#";
      if (this.hasAttribute("image")) {
        const image = /** @type {HTMLImageElement} */ (made("img", "image"));
        Object.assign(image, { src: address("image"), alt: "", loading: "lazy" });
        link.append(image);
      }
      link.append(made("span", "title", label), amount === null ? "" : made("div", "price", price(amount)));
      const dismiss = made("button", "dismiss", words.dismiss);
      dismiss.setAttribute("aria-label", `${words.dismiss}: ${label}`);
      dismiss.onclick = () => shelf.observe({ item, kind: "dislike" });
      const why = reason ? [made("details", "why", made("summary", "why-summary", words.why), reason.text)] : [];
      return made("li", "item", link, ...why, dismiss);
    }
  });
}
