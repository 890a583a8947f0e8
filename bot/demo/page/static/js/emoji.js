// Emoji by their Slack short names. Those a bot of this sort uses are drawn in emoji.svg, so that they look the same on a machine
// without an emoji font; the rest are left to the reader's font.
import { h, svg } from "./dom.js";

const DRAWN = {
  red_circle: "🔴",
  large_orange_circle: "🟠",
  large_yellow_circle: "🟡",
  large_green_circle: "🟢",
  large_blue_circle: "🔵",
  large_purple_circle: "🟣",
  white_circle: "⚪",
  black_circle: "⚫",
  large_red_square: "🟥",
  large_orange_square: "🟧",
  large_yellow_square: "🟨",
  large_green_square: "🟩",
  large_blue_square: "🟦",
  white_large_square: "⬜",
  black_large_square: "⬛",
  white_check_mark: "✅",
  heavy_check_mark: "✔",
  x: "❌",
  warning: "⚠",
  rotating_light: "🚨",
  fire: "🔥",
  boom: "💥",
  hourglass: "⌛",
  hourglass_flowing_sand: "⏳",
  arrows_counterclockwise: "🔄",
  repeat: "🔁",
  link: "🔗",
  lock: "🔒",
  key: "🔑",
  mag: "🔍",
  bell: "🔔",
  no_bell: "🔕",
  memo: "📝",
  paperclip: "📎",
  package: "📦",
  file_folder: "📁",
  floppy_disk: "💾",
  wrench: "🔧",
  gear: "⚙",
  stopwatch: "⏱",
  alarm_clock: "⏰",
  eyes: "👀",
  robot_face: "🤖",
  bust_in_silhouette: "👤",
  desktop_computer: "🖥",
  computer: "💻",
  chart_with_upwards_trend: "📈",
  bulb: "💡",
  information_source: "ℹ",
  question: "❓",
  exclamation: "❗",
  no_entry: "⛔",
  pushpin: "📌",
  scales: "⚖",
  wastebasket: "🗑",
  zap: "⚡",
  skull: "💀",
  tada: "🎉",
  "+1": "👍",
  arrow_right: "➡",
  calendar: "📅",
  ticket: "🎫",
  bookmark: "🔖",
  clipboard: "📋",
  hammer_and_wrench: "🛠",
  black_square_for_stop: "⏹",
  double_vertical_bar: "⏸",
  arrow_forward: "▶",
  thread: "🧵",
  file_cabinet: "🗄",
  label: "🏷",
  wave: "👋",
  leftwards_arrow_with_hook: "↩",
  checkered_flag: "🏁",
  busts_in_silhouette: "👥",
  heavy_plus_sign: "➕",
  heavy_minus_sign: "➖",
  grey_question: "❔",
  no_entry_sign: "🚫",
  rewind: "⏪",
  fast_forward: "⏩",
  twisted_rightwards_arrows: "🔀",
  test_tube: "🧪",
  scissors: "✂",
  pencil2: "✏",
  pager: "📟",
  mailbox_with_mail: "📬",
  ocean: "🌊",
  inbox_tray: "📥",
  page_facing_up: "📄",
};

const LETTERED = {
  "-1": "👎",
  point_right: "👉",
  point_down: "👇",
  raised_hands: "🙌",
  pray: "🙏",
  clap: "👏",
  ok_hand: "👌",
  muscle: "💪",
  smile: "😄",
  slightly_smiling_face: "🙂",
  thinking_face: "🤔",
  sweat_smile: "😅",
  cry: "😢",
  sob: "😭",
  scream: "😱",
  sleeping: "😴",
  sunglasses: "😎",
  ghost: "👻",
  bug: "🐛",
  penguin: "🐧",
  heart: "❤",
  star: "⭐",
  sparkles: "✨",
  rocket: "🚀",
  construction: "🚧",
  siren: "🚨",
  sos: "🆘",
  100: "💯",
  clock1: "🕐",
  clock3: "🕒",
  clock9: "🕘",
  arrow_up: "⬆",
  arrow_down: "⬇",
  arrow_left: "⬅",
  arrow_upper_right: "↗",
  mute: "🔇",
  loudspeaker: "📢",
  mega: "📣",
  outbox_tray: "📤",
  open_file_folder: "📂",
  books: "📚",
  bar_chart: "📊",
  chart_with_downwards_trend: "📉",
  date: "📅",
  mailbox: "📫",
  email: "✉",
  unlock: "🔓",
  shield: "🛡",
  hammer: "🔨",
  nut_and_bolt: "🔩",
  microscope: "🔬",
  telescope: "🔭",
  satellite: "📡",
  battery: "🔋",
  electric_plug: "🔌",
  cd: "💿",
  dvd: "📀",
  thermometer: "🌡",
  snowflake: "❄",
  cloud: "☁",
  recycle: "♻",
  wastebasket: "🗑",
  triangular_flag_on_post: "🚩",
  speech_balloon: "💬",
  globe_with_meridians: "🌐",
  grey_exclamation: "❕",
  bangbang: "‼",
  octagonal_sign: "🛑",
  new: "🆕",
  ok: "🆗",
  up: "🆙",
  infinity: "♾",
  small_red_triangle: "🔺",
  small_red_triangle_down: "🔻",
  small_blue_diamond: "🔹",
  small_orange_diamond: "🔸",
  black_small_square: "▪",
  white_small_square: "▫",
};

const ALIASES = {
  thumbsup: "+1",
  thumbsdown: "-1",
  large_red_circle: "red_circle",
  collision: "boom",
  heavy_exclamation_mark: "exclamation",
  envelope: "email",
  orange_circle: "large_orange_circle",
  green_circle: "large_green_circle",
  tick: "white_check_mark",
  stop_button: "black_square_for_stop",
  pause_button: "double_vertical_bar",
  robot: "robot_face",
};

const BY_TEXT = new Map(Object.entries(DRAWN).map(([name, text]) => [text, name]));

/** Whether Slack's `:name:` is one that this page shows as a picture. */
export function knownEmoji(name) {
  const real = ALIASES[name] ?? name;
  return Object.hasOwn(DRAWN, real) || Object.hasOwn(LETTERED, real);
}

/** The drawn emoji that starts at `index` of `text`: {name, length in UTF-16 units}, or null. */
export function emojiAt(text, index) {
  const point = text.codePointAt(index);
  if (point < 0x2139) return null;
  const character = String.fromCodePoint(point);
  const name = BY_TEXT.get(character);
  if (!name) return null;
  const plain = point < 0x1f000 && !/\p{Emoji_Presentation}/u.test(character);
  const variation = text.charCodeAt(index + character.length) === 0xfe0f;
  if (plain && !variation && !["warning", "heavy_check_mark"].includes(name)) return null;
  return { name, length: character.length + (variation ? 1 : 0) };
}

/** A picture for `:name:`; the short name itself as text when this page has none. */
export function emojiNode(name) {
  const real = ALIASES[name] ?? name;
  if (Object.hasOwn(DRAWN, real)) {
    const picture = svg(
      "svg",
      { viewBox: "0 0 24 24", class: "emoji", role: "img", "aria-label": `${real.replaceAll("_", " ")} emoji` },
      svg("title", {}, `:${real}:`),
      svg("use", { href: `/static/emoji.svg#${real.replace("+", "plus")}` }),
    );
    return picture;
  }
  const letters = Object.hasOwn(LETTERED, real) ? LETTERED[real] : null;
  return h("span", { class: letters ? "emoji-text" : null, title: `:${name}:` }, letters ?? `:${name}:`);
}

/** The drawn names, for the test that each has its symbol in emoji.svg. */
export const drawnNames = Object.keys(DRAWN);
