// Nodes for the tree that mrkdwn.js, markdown.js and richtext.js give.
import { dateNode } from "./dates.js";
import { h, safeHref } from "./dom.js";
import { emojiNode } from "./emoji.js";
import { parseMrkdwn } from "./mrkdwn.js";
import { parsePermalink } from "./permalinks.js";
import { store } from "./store.js";

const TAGS = { bold: "strong", italic: "em", strike: "s", code: "code", quote: "blockquote" };

/** mrkdwn text as nodes. */
export function mrkdwn(text, options) {
  return renderInline(parseMrkdwn(text, options));
}

/** A mrkdwn text as it is read out: the words that are shown, in one line, emoji by their names. */
export function spoken(text) {
  const shown = h("div", {}, mrkdwn(text ?? ""));
  for (const picture of shown.querySelectorAll("svg")) picture.replaceWith(picture.getAttribute("aria-label") ?? "");
  for (const edge of shown.querySelectorAll("br, pre, blockquote")) edge.before(" ");
  return shown.textContent.replace(/\s+/g, " ").trim();
}

/** A text object of Block Kit ({type: mrkdwn | plain_text, text, emoji?, verbatim?}) as nodes. */
export function textObject(object) {
  if (!object) return [];
  return object.type === "mrkdwn"
    ? mrkdwn(object.text, { verbatim: object.verbatim })
    : plainText(object.text, object.emoji !== false);
}

/** Plain text as nodes: emoji short names become pictures when `emoji`, nothing else is read. */
export function plainText(text, emoji = true) {
  const out = [];
  const shown = String(text ?? "");
  let rest = 0;
  const pattern = emoji ? /:([a-z0-9_+-]{1,60}):|[\u2139-\u3299\u{1f000}-\u{1faff}]\ufe0f?/gu : /$^/g;
  for (const match of shown.matchAll(pattern)) {
    const nodes = match[1]
      ? renderInline(parseMrkdwn(match[0], { verbatim: true }))
      : renderInline(parseMrkdwn(match[0]));
    if (nodes.length !== 1 || !(nodes[0] instanceof Element)) continue;
    out.push(shown.slice(rest, match.index), nodes[0]);
    rest = match.index + match[0].length;
  }
  out.push(shown.slice(rest));
  return out.filter((part) => part !== "");
}

/** The tree as an array of nodes. */
export function renderInline(tree) {
  return tree.map(render);
}

function render(node) {
  switch (node.type) {
    case "text":
      return document.createTextNode(node.text);
    case "br":
      return h("br");
    case "pre":
      return h("pre", { class: "pre", tabindex: "0" }, renderInline(node.children));
    case "link":
      return linkNode(node.url, renderInline(node.children));
    case "user":
      return userMention(node.id, node.label);
    case "channel":
      return channelMention(node.id, node.label);
    case "group":
      return groupMention(node.id, node.label);
    case "broadcast":
      return h("span", { class: "mention mention-me" }, `@${node.range}`);
    case "emoji":
      return emojiNode(node.name);
    case "date": {
      const date = dateNode(node.seconds, node.pattern, node.fallback);
      return node.url ? linkNode(node.url, [date]) : date;
    }
    default:
      return h(TAGS[node.type] ?? "span", {}, renderInline(node.children));
  }
}

/** A link that can only lead to http, https or mail; anything else stays the text it is. */
export function linkNode(address, children) {
  const href = safeHref(address);
  if (!href)
    return h("span", { class: "dead-link", title: "This address is not one that a message may link to" }, children);
  const target = parsePermalink(href);
  if (target) return h("a", { href, class: "link", dataset: target }, children);
  return h("a", { href, class: "link", target: "_blank", rel: "noopener noreferrer", title: href }, children);
}

export function userMention(id, label) {
  const user = store.users.get(id);
  const className = id === store.me ? "mention mention-me" : "mention";
  return h("span", { class: className, title: user?.title || null }, `@${user?.name ?? label ?? id}`);
}

export function channelMention(id, label) {
  const channel = store.channels.get(id);
  const name = `#${channel?.name ?? label ?? id}`;
  if (!channel) return h("span", { class: "mention" }, name);
  return h("button", { type: "button", class: "mention mention-button", dataset: { openChannel: id } }, name);
}

export function groupMention(id, label) {
  const group = store.usergroups.get(id);
  const mine = group?.users?.includes(store.me);
  return h(
    "span",
    { class: mine ? "mention mention-me" : "mention" },
    `@${group?.handle ?? label?.replace(/^@/, "") ?? id}`,
  );
}
