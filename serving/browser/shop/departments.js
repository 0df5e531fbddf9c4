// Departments of the shop, read off its titles: the log has no categories.

/** @typedef {{ id: string, name: string, words: RegExp }} Department */

/** The first that fits is an item's. @type {Department[]} */
export const DEPARTMENTS = [
  { id: "festive", name: "Parties & seasons", words: /\b(CHRISTMAS|XMAS|PARTY|GARLAND|BUNTING|EASTER|BIRTHDAY|BALLOONS?|ADVENT|SNOW\w*|REINDEER|ANGEL|BAUBLES?)\b/ },
  { id: "jewellery", name: "Jewellery", words: /\b(NECKLACE|BRACELET|EARRINGS?|RING|BROOCH|HAIR|DIAMANTE|BEADS?|CHARM|PENDANT|BANGLE|TIARA)\b/ },
  { id: "children", name: "For children", words: /\b(CHILD\w*|DOLLY?|TOYS?|GIRL|BOY|SPACEBOY|GAME|BABY|CIRCUS|SOLDIER|SKITTLES|PLAYING|JIGSAW|SKIPPING|TEDDY|KIDS?|MAGIC|BABUSHKA|FELTCRAFT)\b/ },
  { id: "lights", name: "Candles & lights", words: /\b(CANDLES?|LIGHTS?|LANTERN|LAMP|T-LIGHT|INCENSE|CHANDELIER|NIGHT)\b/ },
  { id: "kitchen", name: "Kitchen & tea", words: /\b(MUGS?|CUPS?|TEA|TEAPOT|TEACUP|BOWL|PLATES?|TRAY|CAKE\w*|KITCHEN|CUTLERY|JAR|JARS|COFFEE|BOTTLE|TIN|TINS|PANTRY|LUNCH|EGG|APRON|OVEN|SPOONS?|SUGAR|BAKING|NAPKINS?|GLASS|DOILIES|RECIPE|BREAD|JUG|POPCORN|BISCUIT|SNACK|PICNIC|STRAWS)\b/ },
  { id: "bags", name: "Bags & purses", words: /\b(BAGS?|PURSE|CASES?|UMBRELLA|SHOPPER|WALLET|HOLDALL|SUITCASE|BACKPACK)\b/ },
  { id: "paper", name: "Cards & paper", words: /\b(CARDS?|WRAP|PAPER|GIFT|NOTEBOOK|NOTES|PENS?|PENCILS?|TISSUES?|STICKERS?|ENVELOPES?|LETTERS?|BOOK|JOURNAL|POSTCARD|CHALKBOARD|STAMP|RIBBONS?|TAPE)\b/ },
  { id: "garden", name: "Garden", words: /\b(GARDEN\w*|FLOWERS?|PLANT\w*|WATERING|BIRD\w*|TREE|HERB|POT|SEEDS?|PARASOL|TRELLIS|KNEELING|BUTTERFLY|OUTDOOR)\b/ },
  { id: "rooms", name: "Walls & rooms", words: /\b(SIGN|FRAMES?|MIRROR|CLOCK|HOOKS?|WALL|CUSHION|DOORMAT|DRAWERS?|CABINET|STORAGE|BASKET|BOX|HANGER|THROW|QUILT|CURTAIN|DOORSTOP|DOOR|KNOB|ART|TABLE|CHAIR|STOOL|WARMER|PHOTO|ALARM|HANGING|DECORATION|ORNAMENT)\b/ },
];

/** @type {Department} */
const OTHER = { id: "other", name: "Everything else", words: /(?:)/ };
export const ALL = [...DEPARTMENTS, OTHER];

/** @type {Map<string, Department>} */
const known = new Map();

/** @param {string} title @returns {Department} */
export function departmentOf(title) {
  let found = known.get(title);
  if (!found) known.set(title, found = DEPARTMENTS.find(({ words }) => words.test(title.toUpperCase())) ?? OTHER);
  return found;
}

/** A title as people write it: the log's are in capitals. @param {string | null} title */
export function readable(title) {
  if (!title) return "An item without a name";
  return title.trim().toLowerCase().replace(/(^|[\s/(-])(\w)/g, (_, before, letter) => before + letter.toUpperCase())
    .replace(/\b(Of|And|With|In|For|The|A|To|On)\b/g, (word) => word.toLowerCase()).replace(/^./, (letter) => letter.toUpperCase());
}
