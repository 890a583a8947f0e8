// The rich_text block: sections, lists, preformatted text and quotes with styled parts.
import { dateNode } from "./dates.js";
import { h } from "./dom.js";
import { emojiNode, emojiAt } from "./emoji.js";
import { channelMention, groupMention, linkNode, plainText, userMention } from "./inline.js";

const STYLES = [
  ["code", "code"],
  ["bold", "strong"],
  ["italic", "em"],
  ["strike", "s"],
  ["underline", "u"],
];

/** A rich_text block as nodes. */
export function richText(block) {
  return h("div", { class: "rich-text" }, (block.elements ?? []).map(group));
}

function group(element) {
  switch (element.type) {
    case "rich_text_section":
      return h("div", { class: "rich-section" }, parts(element.elements));
    case "rich_text_preformatted":
      return h("pre", { class: element.border ? "pre pre-border" : "pre", tabindex: "0" }, parts(element.elements));
    case "rich_text_quote":
      return h("blockquote", {}, parts(element.elements));
    case "rich_text_list":
      return list(element);
    default:
      return null;
  }
}

function list(element) {
  const indent = Math.min(Math.max(Number(element.indent) || 0, 0), 8);
  const ordered = element.style === "ordered";
  return h(
    ordered ? "ol" : "ul",
    {
      class: `rich-list rich-list-${indent}${element.border ? " rich-list-border" : ""}`,
      start: ordered ? (Number(element.offset) || 0) + 1 : null,
    },
    (element.elements ?? []).map((item) => h("li", {}, parts(item.elements))),
  );
}

/** The parts of a section (texts, links, mentions, emoji, dates, colours) as nodes. */
export function parts(elements = []) {
  return elements.map((part) => styled(part, inner(part)));
}

function inner(part) {
  switch (part.type) {
    case "text":
      return lines(part.text ?? "");
    case "link":
      return [linkNode(part.url, plainText(part.text ?? part.url))];
    case "user":
      return [userMention(part.user_id)];
    case "channel":
      return [channelMention(part.channel_id)];
    case "usergroup":
      return [groupMention(part.usergroup_id)];
    case "broadcast":
      return [h("span", { class: "mention mention-me" }, `@${part.range}`)];
    case "emoji":
      return [emojiNode(part.name ?? "")];
    case "date":
      return [dateNode(Number(part.timestamp), part.format ?? "", part.fallback ?? String(part.timestamp))];
    case "color":
      return [h("code", {}, part.value ?? "")];
    case "team":
      return [h("span", { class: "mention" }, part.team_id ?? "")];
    default:
      return [];
  }
}

// Rich text holds no short names: a ":" in it is a ":". Line breaks and drawn emoji are all there is to see.
function lines(text) {
  const out = [];
  let plain = "";
  for (let index = 0; index < text.length;) {
    const emoji = text[index] > "\u2000" ? emojiAt(text, index) : null;
    if (!emoji && text[index] !== "\n") {
      plain += text[index];
      index += 1;
      continue;
    }
    out.push(plain, emoji ? emojiNode(emoji.name) : "\n");
    plain = "";
    index += emoji ? emoji.length : 1;
  }
  out.push(plain);
  return out.filter((part) => part !== "");
}

function styled(part, children) {
  return STYLES.filter(([name]) => part.style?.[name]).reduce((content, [, tag]) => [h(tag, {}, content)], children);
}
