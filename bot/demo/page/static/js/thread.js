// The thread pane: a parent, its replies, a composer of its own.
import { api } from "./api.js";
import { Composer } from "./composer.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { MessageList } from "./messagelist.js";
import { store } from "./store.js";
import { attempt } from "./toasts.js";

export class ThreadView {
  constructor(root, { onClose }) {
    Object.assign(this, { root, onClose, opener: null });
    root.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.defaultPrevented) this.close();
    });
    store.watch(["thread"], ({ channel, ts }) => {
      if (!store.thread || channel !== store.thread.channel || (ts && ts !== store.thread.ts)) return;
      this.draw();
    });
  }

  /** Opens the thread of `ts`; `compose` puts the cursor into its composer, `reveal` scrolls to a reply. */
  async open(channel, ts, { compose = false, reveal = "" } = {}) {
    const same = store.thread?.channel === channel && store.thread.ts === ts && !this.root.hidden;
    if (!same) {
      this.opener = document.activeElement;
      store.thread = { channel, ts };
      store.readThread(channel, ts);
      this.build();
    }
    if (compose) this.composer.focus();
    else if (!same) this.root.querySelector("h2").focus({ preventScroll: true });
    if (!same) await this.load();
    if (reveal && store.thread?.ts === ts) this.list.reveal(reveal);
  }

  build() {
    const { channel, ts } = store.thread;
    this.list?.close();
    const name = store.channelName(channel);
    this.list = new MessageList({ channel, inThread: true, openThread: () => {} }, { label: "Thread" });
    this.composer = new Composer({ channel, threadTs: ts, placeholder: "Reply…" });
    fill(
      this.root,
      h(
        "header",
        { class: "pane-header" },
        h("h2", { class: "pane-title", tabindex: "-1" }, "Thread"),
        h("span", { class: "pane-topic" }, store.channels.get(channel)?.is_im ? name : `#${name}`),
        h(
          "button",
          {
            type: "button",
            class: "icon-button pane-close",
            "aria-label": "Close thread",
            title: "Close",
            onclick: () => this.close(),
          },
          icon("close"),
        ),
      ),
      h("div", { class: "list-frame" }, this.list.node),
      this.composer.node,
    );
    this.root.hidden = false;
    document.body.classList.add("thread-open");
    this.draw();
  }

  async load() {
    const { channel, ts } = store.thread;
    const ask = () => api.replies(channel, ts);
    await attempt(() => store.load(ask, ({ messages }) => store.takeReplies(channel, ts, messages)));
  }

  draw() {
    const { channel, ts } = store.thread;
    const messages = store.threadMessages(channel, ts);
    const replies = messages.filter((message) => message.ts !== ts && !message.is_ephemeral).length;
    this.list.draw(messages, {
      between: (message, index) =>
        index === 1
          ? h("div", { class: "replies-divider" }, replies ? (replies === 1 ? "1 reply" : `${replies} replies`) : "")
          : null,
    });
  }

  close() {
    if (this.root.hidden) return;
    store.thread = null;
    this.list?.close();
    this.root.hidden = true;
    fill(this.root);
    document.body.classList.remove("thread-open");
    if (this.opener?.isConnected) this.opener.focus({ preventScroll: true });
    this.onClose();
  }
}
