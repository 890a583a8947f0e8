// A list of messages that is redrawn row by row: only what changed is built anew, so that menus, focus and previews stay.
import { dayTitle } from "./dates.js";
import { h, keepFocus } from "./dom.js";
import { messageRow } from "./messages.js";

const GROUP_SECONDS = 300;
const NEAR_BOTTOM = 60;

export class MessageList {
  /** `place` as messageRow takes it; `onMove(atBottom)` tells that other messages are in view now. */
  constructor(place, { label, onMove }) {
    this.place = place;
    this.rows = new Map();
    this.atBottom = true;
    this.inner = h("div", { class: "list-inner" });
    this.node = h(
      "div",
      { class: "list", role: "log", "aria-live": "off", "aria-label": label, tabindex: "0" },
      this.inner,
    );
    this.node.addEventListener("scroll", () => {
      this.atBottom = this.node.scrollHeight - this.node.scrollTop - this.node.clientHeight < NEAR_BOTTOM;
      onMove?.(this.atBottom);
    });
    this.sizes = new ResizeObserver(() => {
      if (this.atBottom) this.toBottom();
      onMove?.(this.atBottom);
    });
    this.sizes.observe(this.inner);
    this.sizes.observe(this.node);
  }

  toBottom() {
    this.atBottom = true;
    this.node.scrollTop = this.node.scrollHeight;
  }

  /** Scrolls to a message and marks it for a moment; false when it is not in the list. */
  reveal(ts) {
    const row = this.rows.get(ts)?.node;
    if (!row) return false;
    this.atBottom = false;
    row.scrollIntoView({ block: "center" });
    row.classList.remove("revealed");
    void row.offsetWidth; // a restarted animation needs a reflow
    row.classList.add("revealed");
    return true;
  }

  /** Whether any of a message is in view. */
  inView(ts) {
    const row = this.rows.get(ts)?.node.getBoundingClientRect();
    const frame = this.node.getBoundingClientRect();
    return Boolean(row) && row.bottom > frame.top && row.top < frame.bottom;
  }

  /**
   * Shows `messages`. `between(message, index, previous)` may give a node to put before a message; `news(message)` is how many
   * replies of its thread the reader has not seen.
   */
  draw(messages, { between, empty, news = () => 0 } = {}) {
    const old = this.rows;
    this.rows = new Map();
    const wanted = [];
    let previous = null;
    messages.forEach((message, index) => {
      const separator = between?.(message, index, previous);
      if (separator) wanted.push(separator);
      const grouped = !separator && follows(previous, message, this.place.inThread);
      const kept = old.get(message.ts);
      const fresh = news(message);
      const same = kept && kept.message === message && kept.grouped === grouped && kept.fresh === fresh;
      const row = same
        ? kept
        : { message, grouped, fresh, node: messageRow(message, { ...this.place, grouped, fresh }) };
      if (kept && !same) this.keepFiles(kept, row);
      this.rows.set(message.ts, row);
      wanted.push(row.node);
      previous = message;
    });
    if (!wanted.length && empty) wanted.push(empty);
    keepFocus(this.inner, () => reconcile(this.inner, wanted));
    if (this.atBottom) this.toBottom();
  }

  // An edited message keeps its file cards, with the previews that were loaded and opened.
  keepFiles(kept, row) {
    const ids = (message) => (message.files ?? []).map((file) => file.id).join();
    const before = kept.node.querySelector(".message-files");
    const after = row.node.querySelector(".message-files");
    if (before && after && ids(kept.message) === ids(row.message)) after.replaceWith(before);
  }

  close() {
    this.sizes.disconnect();
  }
}

// In a channel each message with blocks stands for itself: it is the head of something, not the next line of what was said.
function follows(previous, message, inThread) {
  if (!previous || previous.subtype || message.subtype || (!inThread && message.blocks?.length && message.bot_id))
    return false;
  const near = Number(message.ts) - Number(previous.ts) < GROUP_SECONDS;
  const author = (one) => `${one.user}/${one.username ?? ""}/${Boolean(one.is_ephemeral)}`;
  return near && author(previous) === author(message) && !previous.reply_count && !message.is_ephemeral;
}

/** Makes `wanted` the children of `parent`, moving and keeping those that are there already. */
function reconcile(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

/** The divider between days, when `message` is the first of its day. */
export function dayDivider(message, previous) {
  const title = dayTitle(message.ts);
  if (previous && dayTitle(previous.ts) === title) return null;
  return h("div", { class: "day", role: "separator", "aria-label": title }, h("span", { class: "day-title" }, title));
}
