// File cards: what it is, a way to get it, and the first lines of a text.
import { fileAddress } from "./api.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";

const PREVIEW_BYTES = 64 * 1024;
const PREVIEW_LINES = 6;
const OPEN_LINES = 400;
const TEXT = /^(?:text\/|application\/(?:json|x-ndjson|xml|toml|yaml|x-yaml))/;
const ARCHIVE = /(?:gzip|x-tar|zip|x-xz|zstd)/;
const KINDS = [
  [TEXT, "Plain text", "file"],
  [/^image\//, "Image", "image"],
  [ARCHIVE, "Archive", "archive"],
];

/** Bytes as people read them: "312 MB". */
export function size(bytes) {
  if (!Number.isFinite(bytes)) return "";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const value = bytes / 1000 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

/** A card for a Slack file object. */
export function fileCard(file) {
  if (file.mode === "tombstone") {
    return h("div", { class: "file file-deleted", dataset: { fileId: file.id ?? "" } }, "This file was deleted.");
  }
  const mimetype = file.mimetype ?? "";
  const name = file.name ?? file.title ?? "file";
  const [, kind, picture] = KINDS.find(([pattern]) => pattern.test(mimetype)) ?? [
    null,
    file.pretty_type ?? "Binary",
    "file",
  ];
  const address = fileAddress(file);
  const card = h(
    "div",
    { class: "file", dataset: { fileId: file.id ?? "" } },
    h(
      "div",
      { class: "file-head" },
      h("span", { class: `file-icon file-icon-${picture}` }, icon(picture)),
      h(
        "div",
        { class: "file-names" },
        h("span", { class: "file-name" }, file.title || name),
        h(
          "span",
          { class: "file-detail" },
          [file.title && file.title !== name ? name : null, kind, size(file.size)].filter(Boolean).join(" · "),
        ),
      ),
      h(
        "a",
        {
          class: "button button-icon file-download",
          href: address,
          download: name,
          "aria-label": `Download ${name}`,
          title: "Download",
        },
        icon("download"),
      ),
    ),
  );
  if (/^image\/(?:png|jpeg|gif|webp)$/.test(mimetype)) {
    card.append(
      h(
        "a",
        { href: address, target: "_blank", rel: "noopener" },
        h("img", { class: "file-image", src: address, alt: name, loading: "lazy" }),
      ),
    );
  } else if (TEXT.test(mimetype)) {
    card.append(preview(file, address, name));
  }
  return card;
}

// The text is fetched when the card comes into view, and only so much of it.
function preview(file, address, name) {
  const body = h("pre", { class: "file-preview", tabindex: "0", "aria-label": `Preview of ${name}` });
  const more = h("button", { type: "button", class: "link-button file-more", "aria-expanded": "false", hidden: true });
  let lines = [];
  const show = (open) => {
    body.textContent = lines.slice(0, open ? OPEN_LINES : PREVIEW_LINES).join("\n");
    more.hidden = lines.length <= PREVIEW_LINES;
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open
      ? "Show less"
      : `Show more (${lines.length > OPEN_LINES ? `first ${OPEN_LINES} of ${lines.length}` : lines.length} lines)`;
    more.onclick = () => show(!open);
  };
  const load = async () => {
    try {
      lines = (await head(address)).replace(/\n$/, "").split("\n");
      show(false);
    } catch (error) {
      body.textContent = `No preview: ${error.message}`;
    }
  };
  const watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    load();
  });
  watcher.observe(body);
  body.textContent = "…";
  return h("div", { class: "file-text" }, body, more);
}

async function head(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const reader = response.body.getReader();
  const chunks = [];
  let length = 0;
  while (length < PREVIEW_BYTES) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
  }
  await reader.cancel();
  return new TextDecoder().decode(await new Blob(chunks).slice(0, PREVIEW_BYTES).arrayBuffer());
}
