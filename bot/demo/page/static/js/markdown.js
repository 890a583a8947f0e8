// The markdown block: the common part of Markdown that Slack takes there, as nodes.
import { h } from "./dom.js";
import { linkNode, plainText } from "./inline.js";

const FENCE = /^\s*```/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const BULLET = /^\s*[-*+]\s+(.*)$/;
const NUMBER = /^\s*\d{1,9}[.)]\s+(.*)$/;
const QUOTE = /^>\s?(.*)$/;
const RULE = /^\s*(?:-{3,}|\*{3,}|_{3,})\s*$/;
const INLINE =
  /`([^`\n]+)`|\*\*([^*\n]+)\*\*|__([^_\n]+)__|~~([^~\n]+)~~|\*([^*\s][^*\n]*)\*|_([^_\s][^_\n]*)_|\[([^\]\n]*)\]\(([^()\s]+)\)/g;

/** A markdown block's text as one node. */
export function markdown(text) {
  const lines = String(text ?? "").split("\n");
  const out = [];
  let index = 0;
  const run = (pattern) => {
    const taken = [];
    while (index < lines.length && pattern.test(lines[index])) {
      taken.push(pattern.exec(lines[index])[1]);
      index += 1;
    }
    return taken;
  };
  while (index < lines.length) {
    const line = lines[index];
    const heading = HEADING.exec(line);
    if (FENCE.test(line)) {
      const end = lines.findIndex((other, at) => at > index && FENCE.test(other));
      const stop = end < 0 ? lines.length : end;
      out.push(h("pre", { class: "pre", tabindex: "0" }, lines.slice(index + 1, stop).join("\n")));
      index = stop + 1;
    } else if (heading) {
      out.push(
        h(
          "div",
          {
            class: `markdown-heading markdown-heading-${heading[1].length}`,
            role: "heading",
            "aria-level": String(Math.min(heading[1].length + 3, 6)),
          },
          inline(heading[2]),
        ),
      );
      index += 1;
    } else if (RULE.test(line)) {
      out.push(h("hr", { class: "divider" }));
      index += 1;
    } else if (BULLET.test(line)) {
      out.push(
        h(
          "ul",
          { class: "rich-list rich-list-0" },
          run(BULLET).map((item) => h("li", {}, inline(item))),
        ),
      );
    } else if (NUMBER.test(line)) {
      out.push(
        h(
          "ol",
          { class: "rich-list rich-list-0" },
          run(NUMBER).map((item) => h("li", {}, inline(item))),
        ),
      );
    } else if (QUOTE.test(line)) {
      out.push(
        h(
          "blockquote",
          {},
          run(QUOTE).map((item) => h("div", {}, inline(item))),
        ),
      );
    } else {
      if (line.trim()) out.push(h("p", { class: "markdown-line" }, inline(line)));
      index += 1;
    }
  }
  return h("div", { class: "markdown" }, out);
}

function inline(text) {
  const out = [];
  let rest = 0;
  for (const match of text.matchAll(INLINE)) {
    out.push(...plainText(text.slice(rest, match.index)));
    const [, code, bold, bold2, strike, italic, italic2, label, url] = match;
    if (code !== undefined) out.push(h("code", {}, code));
    else if (url !== undefined) out.push(linkNode(url, plainText(label || url)));
    else if (strike !== undefined) out.push(h("s", {}, plainText(strike)));
    else if (bold ?? bold2) out.push(h("strong", {}, plainText(bold ?? bold2)));
    else out.push(h("em", {}, plainText(italic ?? italic2)));
    rest = match.index + match[0].length;
  }
  out.push(...plainText(text.slice(rest)));
  return out;
}
