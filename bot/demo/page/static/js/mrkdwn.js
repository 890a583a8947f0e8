// Slack's mrkdwn as a tree of plain objects. Pure: text in, tree out; never throws; linear in the length of the text.
//
// A node is {type, text?} or {type, children}: text, br, bold, italic, strike, code, pre, quote, link {url, children},
// user {id}, channel {id, label}, group {id, label}, broadcast {range}, date {seconds, pattern, url, fallback}, emoji {name}.
import { emojiAt, knownEmoji } from "./emoji.js";

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">" };
const MARKS = { "*": "bold", _: "italic", "~": "strike" };
const DEEPEST = 6;
const WORD = /[\p{L}\p{N}]/u;

/** `&amp; &lt; &gt;` as the characters they stand for. */
export function decode(text) {
  return text.replace(/&(?:amp|lt|gt);/g, (entity) => ENTITIES[entity]);
}

/** The characters that Slack reserves, escaped: what a client does with what a person typed. */
export function escape(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** The tree of a mrkdwn text. `verbatim` leaves bare addresses alone, as the flag of a text object does. */
export function parseMrkdwn(source, { verbatim = false } = {}) {
  const out = [];
  const text = String(source ?? "");
  let index = 0;
  while (index < text.length) {
    const open = text.indexOf("```", index);
    const close = open < 0 ? -1 : text.indexOf("```", open + 3);
    if (close < 0 || close === open + 3) {
      out.push(...parseLines(text.slice(index), verbatim));
      break;
    }
    out.push(...parseLines(trimEdge(text.slice(index, open), index > 0), verbatim));
    out.push({
      type: "pre",
      children: parseCode(
        text
          .slice(open + 3, close)
          .replace(/^\n/, "")
          .replace(/\n$/, ""),
      ),
    });
    index = close + 3;
    if (text[index] === "\n" || text[index] === " ") index += 1;
  }
  return out;
}

// A line break beside a code block is the block's own edge, not a blank line.
const trimEdge = (text) => text.replace(/\n$/, "");

function parseLines(text, verbatim) {
  const out = [];
  let quote = null;
  let plain = [];
  const flush = () => {
    if (plain.length) out.push(...parseInline(plain.join("\n"), verbatim, 0));
    plain = [];
  };
  for (const line of text.split("\n")) {
    const mark = /^(?:&gt;|>) ?/.exec(line);
    if (mark) {
      flush();
      quote ??= [];
      quote.push(line.slice(mark[0].length));
      continue;
    }
    if (quote) {
      out.push({ type: "quote", children: parseInline(quote.join("\n"), verbatim, 0) });
      quote = null;
    }
    plain.push(line);
  }
  flush();
  if (quote) out.push({ type: "quote", children: parseInline(quote.join("\n"), verbatim, 0) });
  return out;
}

// Inside code Slack's angle-bracket tokens live on by their label; any other bracket is the character it is.
function parseCode(text) {
  const plain = text.replace(/<([^<>\n]*)>/g, (whole, inner) =>
    token(whole, 0, DEEPEST) ? inner.slice(inner.indexOf("|") + 1) : whole,
  );
  return [{ type: "text", text: decode(plain) }];
}

function parseInline(text, verbatim, depth) {
  const out = [];
  const dead = new Set();
  let plain = "";
  let index = 0;
  const push = (node, length) => {
    if (plain) out.push({ type: "text", text: plain });
    plain = "";
    out.push(node);
    index += length;
  };
  while (index < text.length) {
    const character = text[index];
    const found = special(text, index, character, verbatim, depth, dead);
    if (found) {
      push(found.node, found.length);
    } else if (character === "&") {
      const entity = /^&(?:amp|lt|gt);/.exec(text.slice(index, index + 5));
      plain += entity ? ENTITIES[entity[0]] : "&";
      index += entity ? entity[0].length : 1;
    } else {
      if (character === "\n") dead.clear();
      plain += character;
      index += 1;
    }
  }
  if (plain) out.push({ type: "text", text: plain });
  return out.flatMap((node) => (node.type === "text" ? breaks(node.text) : [node]));
}

function breaks(text) {
  return text
    .split("\n")
    .flatMap((line, row) => [...(row ? [{ type: "br" }] : []), ...(line ? [{ type: "text", text: line }] : [])]);
}

function special(text, index, character, verbatim, depth, dead) {
  if (character === "<") return token(text, index, depth);
  if (character === "`") return code(text, index, dead);
  if (Object.hasOwn(MARKS, character)) return marked(text, index, character, verbatim, depth, dead);
  if (character === ":") {
    const match = sticky(/:([a-z0-9_+-]{1,60}):(?::skin-tone-[2-6]:)?/y, text, index);
    return match && knownEmoji(match[1]) ? { node: { type: "emoji", name: match[1] }, length: match[0].length } : null;
  }
  if (character === "h" && !verbatim) return bareLink(text, index);
  if (character > "\u2000") {
    const emoji = emojiAt(text, index);
    return emoji && { node: { type: "emoji", name: emoji.name }, length: emoji.length };
  }
  return null;
}

function sticky(pattern, text, index) {
  pattern.lastIndex = index;
  return pattern.exec(text);
}

function bareLink(text, index) {
  if (index > 0 && WORD.test(text[index - 1])) return null;
  const match = sticky(/https?:\/\/[^\s<>|`]+/y, text, index);
  if (!match) return null;
  const raw = match[0].replace(/(?:&gt;|&lt;|[.,;:!?'")\]*_~])+$/, "");
  if (raw.length < 9) return null;
  const url = decode(raw);
  return { node: { type: "link", url, children: [{ type: "text", text: url }] }, length: raw.length };
}

function code(text, index, dead) {
  if (dead.has("`")) return null;
  const close = text.indexOf("`", index + 1);
  const line = text.indexOf("\n", index);
  if (close < 0 || (line >= 0 && line < close)) {
    dead.add("`");
    return null;
  }
  if (close === index + 1) return null;
  return { node: { type: "code", children: parseCode(text.slice(index + 1, close)) }, length: close + 1 - index };
}

function marked(text, index, mark, verbatim, depth, dead) {
  const before = text[index - 1] ?? " ";
  const after = text[index + 1] ?? " ";
  if (depth >= DEEPEST || dead.has(mark) || WORD.test(before) || before === mark || /\s/.test(after) || after === mark)
    return null;
  const close = closing(text, index, mark);
  if (close < 0) {
    dead.add(mark); // whatever opens later on this line finds no end either: the search stays linear
    return null;
  }
  const children = parseInline(text.slice(index + 1, close), verbatim, depth + 1);
  return { node: { type: MARKS[mark], children }, length: close + 1 - index };
}

function closing(text, index, mark) {
  for (let at = index + 2; at < text.length; at += 1) {
    const character = text[at];
    if (character === "\n") return -1;
    if (character === mark && !/\s/.test(text[at - 1]) && !WORD.test(text[at + 1] ?? " ") && text[at + 1] !== mark)
      return at;
    if (character === "<" || character === "`") {
      const end = text.indexOf(character === "<" ? ">" : "`", at + 1);
      const line = text.indexOf("\n", at);
      if (end < 0 || (line >= 0 && line < end)) continue;
      at = end;
    }
  }
  return -1;
}

/** What an angle-bracket token is: a mention, a date, a link; null when the bracket is just a bracket. */
function token(text, index, depth) {
  const match = sticky(/<([^<>\n]{1,4000})>/y, text, index);
  if (!match) return null;
  const inner = match[1];
  const bar = inner.indexOf("|");
  const head = bar < 0 ? inner : inner.slice(0, bar);
  const label = bar < 0 ? null : decode(inner.slice(bar + 1));
  const node = mention(head, label) ?? link(head, bar < 0 ? null : inner.slice(bar + 1), depth);
  return node && { node, length: match[0].length };
}

function mention(head, label) {
  if (/^@[UWB][A-Z0-9]+$/.test(head)) return { type: "user", id: head.slice(1), label };
  if (/^#[CGD][A-Z0-9]+$/.test(head)) return { type: "channel", id: head.slice(1), label };
  if (/^!subteam\^S[A-Z0-9]+$/.test(head)) return { type: "group", id: head.slice(9), label };
  if (/^!(?:here|channel|everyone)$/.test(head)) return { type: "broadcast", range: head.slice(1) };
  if (!head.startsWith("!date^")) return null;
  const [, seconds, pattern = "", url = null] = head.split("^");
  return {
    type: "date",
    seconds: Number(seconds),
    pattern: decode(pattern),
    url: url && decode(url),
    fallback: label ?? "",
  };
}

function link(head, label, depth) {
  const url = decode(head);
  if (!/^[a-z][a-z0-9+.-]*:/i.test(url)) return null;
  const children =
    label === null || depth >= DEEPEST
      ? [{ type: "text", text: label === null ? url.replace(/^mailto:/, "") : decode(label) }]
      : parseInline(label, true, DEEPEST - 1);
  return { type: "link", url, children };
}
