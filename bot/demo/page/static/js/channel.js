// The middle of the page: a channel with its messages and its composer.
import { api } from "./api.js";
import { Composer } from "./composer.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { plainText } from "./inline.js";
import { dayDivider, MessageList } from "./messagelist.js";
import { store } from "./store.js";
import { attempt } from "./toasts.js";

export class ChannelView {
  constructor(root, { openThread, openSidebar }) {
    Object.assign(this, { root, openThread, openSidebar, channel: "" });
    store.watch(["channel"], ({ channel }) => {
      if (channel !== this.channel || store.place.view !== "channel") return;
      this.draw();
    });
    store.watch(["posted"], ({ channel, message }) => {
      const here = channel === this.channel && store.place.view === "channel" && store.isTop(message);
      if (here && message.user !== store.me && !this.list.atBottom) this.pill.hidden = false;
    });
  }

  /** Shows `channel`, and `ts` in it when given. */
  async show(channel, ts = "") {
    if (this.channel === channel && this.list?.node.isConnected) {
      if (ts) this.list.reveal(ts);
      return;
    }
    this.list?.close();
    this.channel = channel;
    this.since = store.unreadSince;
    const room = store.channels.get(channel);
    const name = store.channelName(channel);
    this.list = new MessageList(
      { channel, inThread: false, openThread: this.openThread },
      {
        label: `Messages in ${name}`,
        onMove: (atBottom) => {
          if (atBottom) this.pill.hidden = true;
          this.drawNews();
        },
      },
    );
    this.pill = h(
      "button",
      { type: "button", class: "new-pill", hidden: true, onclick: () => this.list.toBottom() },
      "New messages ↓",
    );
    this.newsPill = h("button", {
      type: "button",
      class: "new-pill news-pill",
      hidden: true,
      onclick: () => this.openNews(),
    });
    this.more = h(
      "button",
      { type: "button", class: "link-button older", hidden: true, onclick: () => this.loadOlder() },
      "Show older messages",
    );
    this.list.node.prepend(this.more);
    this.composer = new Composer({ channel, placeholder: room?.is_im ? `Message ${name}` : `Message #${name}` });
    fill(
      this.root,
      this.header(room, name),
      h("div", { class: "list-frame" }, this.list.node, h("div", { class: "pills" }, this.newsPill, this.pill)),
      this.composer.node,
    );
    this.draw();
    if (!store.logs.has(channel)) await this.load();
    if (ts && this.channel === channel) this.list.reveal(ts);
  }

  async load() {
    const { channel } = this;
    const ask = () => api.history(channel);
    await attempt(() => store.load(ask, (answer) => store.takeHistory(channel, answer)));
  }

  /** Adds what was written before, and leaves the reader where they were. */
  async loadOlder() {
    const { channel, list } = this;
    const oldest = store.channelMessages(channel).find((message) => !message.is_ephemeral)?.ts;
    const below = list.node.scrollHeight - list.node.scrollTop;
    const ask = () => api.history(channel, oldest);
    await attempt(() => store.load(ask, (answer) => store.takeOlder(channel, answer)));
    list.node.scrollTop = list.node.scrollHeight - below;
  }

  /** Forgets what is shown: another user is here now. */
  reset() {
    this.channel = "";
  }

  header(room, name) {
    const topic = room?.topic?.value ?? room?.topic ?? room?.purpose?.value ?? "";
    const members = room?.num_members;
    return h(
      "header",
      { class: "pane-header" },
      h(
        "button",
        { type: "button", class: "icon-button only-narrow", "aria-label": "Channels", onclick: this.openSidebar },
        icon("menu"),
      ),
      h("h1", { class: "pane-title" }, room?.is_im ? null : icon("hash", "icon icon-title"), name),
      h("span", { class: "pane-topic" }, topic ? plainText(topic) : null),
      members ? h("span", { class: "pane-members", title: `${members} members` }, `${members} members`) : null,
    );
  }

  draw() {
    if (!this.list) return;
    let marked = false;
    this.more.hidden = !store.older.get(this.channel);
    this.list.draw(store.channelMessages(this.channel), {
      news: (message) => store.newReplies(this.channel, message.ts),
      between: (message, index, previous) => {
        const day = dayDivider(message, previous);
        const fresh = !marked && this.since && message.ts >= this.since;
        marked ||= fresh;
        if (!fresh) return day;
        return h(
          "div",
          { class: "day fresh", role: "separator", "aria-label": "New messages" },
          day ? h("span", { class: "day-title" }, day.textContent) : null,
          h("span", { class: "day-fresh" }, "New"),
        );
      },
      empty: store.logs.has(this.channel)
        ? h(
            "p",
            { class: "empty" },
            `This is the very beginning of ${store.channels.get(this.channel)?.is_im ? "this conversation" : `#${store.channelName(this.channel)}`}.`,
          )
        : null,
    });
    this.drawNews();
  }

  /** Threads of this channel with unseen replies whose head is out of sight. */
  newsOutOfSight() {
    return store.threadsWithNews().filter(({ channel, ts }) => channel === this.channel && !this.list.inView(ts));
  }

  drawNews() {
    const count = this.newsOutOfSight().length;
    this.newsPill.hidden = count === 0;
    fill(this.newsPill, count === 1 ? "1 thread has new replies" : `${count} threads have new replies`);
  }

  openNews() {
    const [latest] = this.newsOutOfSight();
    this.list.reveal(latest.ts);
    this.openThread(latest.ts);
  }
}
