// Drawings in place of photographs: a colour named in the title, the department's sign, a pattern of the title's motif.
import { svg } from "./dom.js";
import { departmentOf } from "./departments.js";

/** Word of a title → hue, saturation, lightness of the background. @type {Record<string, [number, number, number]>} */
const COLOURS = {
  PINK: [340, 62, 86], ROSE: [345, 55, 86], RED: [4, 62, 80], BLUE: [212, 52, 82], GREEN: [140, 32, 80], MINT: [155, 40, 86],
  YELLOW: [46, 78, 82], GOLD: [43, 58, 78], PURPLE: [275, 38, 84], LAVENDER: [262, 45, 88], LILAC: [280, 42, 88],
  ORANGE: [26, 76, 82], BROWN: [24, 28, 78], CHOCOLATE: [22, 30, 76], CREAM: [42, 58, 90], IVORY: [48, 44, 91],
  WHITE: [30, 16, 93], BLACK: [250, 8, 72], GREY: [220, 8, 82], SILVER: [214, 12, 84], ZINC: [205, 14, 80], WOODEN: [28, 36, 80],
  TURQUOISE: [180, 42, 80], TEAL: [184, 40, 78],
};

/** What each department's tile shows, in a square of 48. @type {Record<string, string>} */
const SIGNS = {
  lights: "M24 6c4 5 5 8 5 10a5 5 0 0 1-10 0c0-2 1-5 5-10zM19 24h10v18H19z",
  kitchen: "M10 16h22v14a9 9 0 0 1-9 9h-4a9 9 0 0 1-9-9zm22 3h4a5 5 0 0 1 0 12h-4M14 11c0-3 3-3 3-6m5 6c0-3 3-3 3-6",
  bags: "M10 18h28l3 23H7zM17 18a7 7 0 0 1 14 0",
  jewellery: "M15 8h18l6 8-15 9-15-9zM9 16a15 15 0 1 0 30 0",
  paper: "M8 13h32v24H8zm0 0 16 14 16-14",
  festive: "M24 5l4 12 12 1-9 8 3 12-10-7-10 7 3-12-9-8 12-1z",
  garden: "M24 42V22m0 0c0-8-6-12-13-12 0 8 5 12 13 12zm0 6c0-7 6-11 13-11 0 7-5 11-13 11z",
  children: "M24 8a8 8 0 1 0 .1 0zM12 10a4 4 0 1 0 .1 0zm24 0a4 4 0 1 0 .1 0zM24 24c-9 0-12 8-12 16h24c0-8-3-16-12-16z",
  rooms: "M8 8h32v32H8zm6 6h20v20H14zm0 16 7-8 5 5 3-3 5 6",
  other: "M8 18h32v22H8zm0 0 4-8h24l4 8M24 10v30",
};

/** A pattern by the title's motif. @type {[RegExp, string, number][]} */
const MOTIFS = [
  [/POLKADOT|SPOT|DOT/, "M6 4a2 2 0 1 0 .1 0z", 12], [/HEART|LOVE|SWEET/, "M8 12C2 7 4 3 8 6c4-3 6 1 0 6z", 18],
  [/STAR|CHRISTMAS/, "M8 2l1.5 4.5H14l-3.6 2.7L12 14 8 11l-4 3 1.6-4.8L2 6.500h4.500z", 20],
  [/FLOWER|ROSE|DAISY|FLORAL|PAISLEY/, "M8 5a2 2 0 1 0 .1 0zm-3 4a2 2 0 1 0 .1 0zm6 0a2 2 0 1 0 .1 0zM8 12a2 2 0 1 0 .1 0z", 22],
  [/STRIP|GINGHAM|UNION|RETRO/, "M0 4h16v3H0z", 12], [/BIRD|BUTTERFLY|RABBIT/, "M2 8c3-4 5-4 6 0 1-4 3-4 6 0-3-1-5 0-6 3-1-3-3-4-6-3z", 20],
];

/** A number of 0..1 that a text always has. @param {string} text */
function chance(text) {
  let hash = 2166136261;
  for (const letter of text) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619);
  return (hash >>> 0) / 2 ** 32;
}

let drawn = 0;

/** Draw an item's tile. @param {string} id @param {string} title */
export function tile(id, title) {
  const words = title.toUpperCase().split(/[^A-Z]+/), seed = chance(id);
  const colour = words.map((word) => COLOURS[word]).find(Boolean) ?? [Math.floor(seed * 360), 34, 85];
  const [hue, saturation, light] = colour, ink = `hsl(${hue} ${Math.min(saturation + 6, 60)}% 27%)`;
  const name = `p${drawn++}`, motif = MOTIFS.find(([pattern]) => pattern.test(title.toUpperCase()));
  const made = svg("svg", { class: "tile", viewBox: "0 0 160 120", "aria-hidden": "true", focusable: "false" });
  const gradient = svg("linearGradient", { id: `${name}g`, x1: 0, y1: 0, x2: 1, y2: 1 },
    svg("stop", { offset: 0, "stop-color": `hsl(${hue} ${saturation}% ${Math.min(light + 6, 97)}%)` }),
    svg("stop", { offset: 1, "stop-color": `hsl(${(hue + 14) % 360} ${saturation}% ${light - 8}%)` }));
  const definitions = svg("defs", {}, gradient);
  made.append(definitions, svg("rect", { width: 160, height: 120, fill: `url(#${name}g)` }));
  if (motif) {
    const [, path, size] = motif;
    definitions.append(svg("pattern", {
      id: name, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${Math.round(seed * 40 - 20)})`,
    }, svg("path", { d: path, fill: ink, "fill-opacity": 0.13 })));
    made.append(svg("rect", { width: 160, height: 120, fill: `url(#${name})` }));
  }
  const size = 1.5 + seed * 0.25, sign = SIGNS[departmentOf(title).id] ?? SIGNS.other;
  made.append(
    svg("ellipse", { cx: 80, cy: 102, rx: 40, ry: 6, fill: ink, "fill-opacity": 0.1 }),
    svg("g", { transform: `translate(${80 - 24 * size} ${60 - 24 * size}) scale(${size})` },
      svg("path", { d: sign, fill: "#ffffff", "fill-opacity": 0.72, stroke: ink, "stroke-width": 1.8, "stroke-linejoin": "round", "stroke-linecap": "round" })));
  return made;
}
