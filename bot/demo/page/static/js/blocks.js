// Block Kit's blocks as nodes.
import { renderElement, image } from "./elements.js";
import { h, uid } from "./dom.js";
import { fileCard } from "./files.js";
import { markdown } from "./markdown.js";
import { textObject } from "./inline.js";
import { richText } from "./richtext.js";
import { named } from "./surfaces.js";

const RENDERERS = {
  header,
  section,
  context,
  divider,
  actions,
  image: imageBlock,
  rich_text: richText,
  input,
  table,
  markdown: (block) => markdown(block.text),
  file,
  context_actions: actions,
  video: () => null,
};

/** The blocks of a message, a modal or the home, one node each. */
export function renderBlocks(blocks, surface) {
  return named(blocks).map((block) => {
    const renderer = RENDERERS[block.type];
    const content = renderer
      ? renderer(block, surface)
      : h("span", { class: "unknown" }, `Block “${block.type}” is not shown here`);
    return (
      content &&
      h(
        "div",
        { class: `block block-${renderer ? block.type : "unknown"}`, dataset: { blockId: block.block_id } },
        content,
      )
    );
  });
}

const acting = (block, surface) => ({ block, surface, acts: true });

function header(block) {
  return h("h3", { class: "header" }, textObject(block.text));
}

function section(block, surface) {
  const text = [
    block.text ? h("div", { class: "section-text" }, textObject(block.text)) : null,
    block.fields?.length
      ? h(
          "div",
          { class: "fields" },
          block.fields.map((field) => h("div", { class: "field" }, textObject(field))),
        )
      : null,
  ];
  if (!block.accessory) return text;
  const accessory =
    block.accessory.type === "image"
      ? image(block.accessory, { className: "image-accessory" })
      : renderElement(block.accessory, acting(block, surface));
  return h(
    "div",
    { class: "section-with-accessory" },
    h("div", { class: "section-main" }, text),
    h("div", { class: "accessory" }, accessory),
  );
}

function context(block) {
  return h(
    "div",
    { class: "context" },
    (block.elements ?? []).map((element) =>
      element.type === "image"
        ? image(element, { className: "image-context" })
        : h("span", { class: "context-text" }, textObject(element)),
    ),
  );
}

function divider() {
  return h("hr", { class: "divider" });
}

function actions(block, surface) {
  return h(
    "div",
    { class: "actions" },
    (block.elements ?? []).map((element) => renderElement(element, acting(block, surface))),
  );
}

function imageBlock(block) {
  return h(
    "figure",
    { class: "figure" },
    block.title ? h("figcaption", {}, textObject(block.title)) : null,
    image(block, { className: "image-block" }),
  );
}

function file(block) {
  return block.file ? fileCard(block.file) : null;
}

function input(block, surface) {
  const label = uid("label");
  const described = uid("described");
  const error = surface.errors[block.block_id];
  const place = {
    block,
    surface,
    acts: Boolean(block.dispatch_action),
    labelledBy: label,
    describedBy: described,
    optional: Boolean(block.optional),
  };
  return h(
    "div",
    { class: error ? "input-block invalid" : "input-block" },
    h(
      "div",
      { class: "input-label", id: label },
      textObject(block.label),
      block.optional ? h("span", { class: "optional" }, " (optional)") : null,
    ),
    renderElement(block.element, place),
    h(
      "div",
      { id: described },
      h("div", { class: "input-error", role: error ? "alert" : null, hidden: !error }, error ?? ""),
      block.hint ? h("div", { class: "input-hint" }, textObject(block.hint)) : null,
    ),
  );
}

function table(block) {
  const settings = block.column_settings ?? [];
  const cell = (content, column, tag) => {
    const { align = "left", is_wrapped: wrapped = false } = settings[column] ?? {};
    const inner =
      content.type === "rich_text"
        ? richText(content)
        : content.text === undefined
          ? String(content.value ?? "")
          : content.text;
    return h(
      tag,
      { class: `cell-${align}${wrapped ? " cell-wrapped" : ""}`, scope: tag === "th" ? "col" : null },
      inner,
    );
  };
  const [head = [], ...rows] = block.rows ?? [];
  return h(
    "div",
    { class: "table-frame", tabindex: "0", role: "region", "aria-label": "Table" },
    h(
      "table",
      { class: "table" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          head.map((content, column) => cell(content, column, "th")),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            {},
            row.map((content, column) => cell(content, column, "td")),
          ),
        ),
      ),
    ),
  );
}

/** Secondary attachments: a coloured bar with blocks, or the older title, text and fields. */
export function renderAttachments(attachments, surface) {
  return (attachments ?? []).map((attachment) => {
    const bar = h("div", { class: "attachment-bar" });
    const colour = { good: "#2eb67d", warning: "#ecb22e", danger: "#e01e5a" }[attachment.color] ?? attachment.color;
    if (/^#?[0-9a-f]{6}$/i.test(colour ?? ""))
      bar.style.backgroundColor = colour.startsWith("#") ? colour : `#${colour}`;
    const words = (text) => textObject({ type: "mrkdwn", text });
    const title = attachment.title
      ? h(
          "div",
          { class: "attachment-title" },
          attachment.title_link ? words(`<${attachment.title_link}|${attachment.title}>`) : words(attachment.title),
        )
      : null;
    return h(
      "div",
      { class: "attachment" },
      attachment.pretext ? h("div", {}, words(attachment.pretext)) : null,
      h(
        "div",
        { class: "attachment-row" },
        bar,
        h(
          "div",
          { class: "attachment-body" },
          attachment.author_name ? h("div", { class: "attachment-author" }, attachment.author_name) : null,
          title,
          attachment.blocks
            ? renderBlocks(attachment.blocks, surface)
            : attachment.text
              ? h("div", {}, words(attachment.text))
              : null,
          attachment.fields?.length
            ? h(
                "div",
                { class: "fields" },
                attachment.fields.map((field) =>
                  h(
                    "div",
                    { class: field.short ? "field" : "field field-wide" },
                    h("strong", {}, field.title ?? ""),
                    h("div", {}, words(field.value ?? "")),
                  ),
                ),
              )
            : null,
          attachment.footer ? h("div", { class: "attachment-footer" }, words(attachment.footer)) : null,
        ),
      ),
    );
  });
}
