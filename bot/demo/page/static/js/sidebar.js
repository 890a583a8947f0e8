// The left column: workspace, who is at the keyboard, channels, the app.
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { spoken } from "./inline.js";
import { avatar } from "./people.js";
import { openMenu } from "./popover.js";
import { store } from "./store.js";
import { setTheme, theme } from "./theme.js";

const THEMES = [
  ["system", "As the system", "system"],
  ["light", "Light", "sun"],
  ["dark", "Dark", "moon"],
];

export class Sidebar {
  constructor(root, { actAs, close, openThread }) {
    Object.assign(this, { root, actAs, close, openThread });
    store.watch(["sidebar", "place", "bot"], () => this.draw());
  }

  draw() {
    const rooms = store.rooms();
    const key = document.activeElement?.dataset?.sidebarKey;
    fill(
      this.root,
      h(
        "div",
        { class: "sidebar-head" },
        h("span", { class: "workspace-name" }, store.team.name || "Workspace"),
        this.themeButton(),
      ),
      this.switcher(),
      h(
        "div",
        { class: "sidebar-scroll" },
        this.threads(),
        h("h2", { class: "sidebar-title" }, "Channels"),
        h(
          "ul",
          { class: "sidebar-list" },
          rooms.map((channel) => this.room(channel)),
        ),
        h("h2", { class: "sidebar-title" }, "Apps"),
        h(
          "ul",
          { class: "sidebar-list" },
          this.app(),
          store.directMessages().map((channel) => this.room(channel)),
        ),
      ),
    );
    if (key)
      [...this.root.querySelectorAll("[data-sidebar-key]")].find((node) => node.dataset.sidebarKey === key)?.focus();
  }

  /** The threads with replies that the reader has not seen, as a menu. */
  threads() {
    const unread = store.threadsWithNews();
    const state = unread.length ? `, ${unread.length} with new replies` : ", nothing new";
    const button = h(
      "button",
      {
        type: "button",
        class: `sidebar-item sidebar-threads${unread.length ? " unread" : ""}`,
        "aria-label": `Threads${state}`,
        "aria-haspopup": "menu",
        "aria-expanded": "false",
        dataset: { sidebarKey: "threads" },
        onclick: () => openMenu(button, this.threadItems(unread), { label: "Threads", align: "start" }),
      },
      icon("threads"),
      h("span", { class: "sidebar-name" }, "Threads"),
      unread.length ? h("span", { class: "dot" }) : null,
    );
    return button;
  }

  threadItems(unread) {
    if (!unread.length) return [{ label: "No thread has new replies", onSelect: () => {} }];
    const items = unread.map(({ channel, ts, replies }) => ({
      label: spoken(store.message(channel, ts)?.text) || "An older thread",
      detail: `#${store.channelName(channel)} · ${replies.length} new`,
      onSelect: () => {
        this.close();
        this.openThread(channel, ts);
      },
    }));
    return [...items, { separator: true }, { label: "Mark all as read", onSelect: () => store.readAllThreads() }];
  }

  room(channel) {
    const unread = store.unread.get(channel.id);
    const here = store.place.view === "channel" && store.place.channel === channel.id;
    const name = store.channelName(channel.id);
    const state = unread ? `, ${unread.messages} unread` : "";
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: `sidebar-item${here ? " here" : ""}${unread ? " unread" : ""}${channel.is_im ? " child" : ""}`,
          "aria-current": here ? "page" : null,
          "aria-label": channel.is_im ? `Messages with ${name}${state}` : `Channel ${name}${state}`,
          dataset: { sidebarKey: channel.id },
          onclick: () => this.go({ view: "channel", channel: channel.id }),
        },
        channel.is_im ? icon("reply") : icon("hash"),
        h("span", { class: "sidebar-name" }, channel.is_im ? "Messages" : name),
        unread?.mentions
          ? h("span", { class: "count" }, String(unread.mentions))
          : unread
            ? h("span", { class: "dot" })
            : null,
      ),
    );
  }

  app() {
    const here = store.place.view === "home";
    const name = store.users.get(store.bot.user_id)?.name ?? "App";
    const connected = store.bot.connected;
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: `sidebar-item${here ? " here" : ""}`,
          "aria-current": here ? "page" : null,
          dataset: { sidebarKey: "home" },
          "aria-label": `${name}, App Home, ${connected ? "connected" : "not connected"}`,
          onclick: () => this.go({ view: "home" }),
        },
        avatar(store.bot.user_id, name, "avatar avatar-small"),
        h("span", { class: "sidebar-name" }, name),
        h("span", { class: connected ? "presence on" : "presence", title: connected ? "Connected" : "Not connected" }),
      ),
    );
  }

  go(place) {
    this.close();
    store.go(place);
  }

  switcher() {
    const me = store.users.get(store.me);
    const button = h(
      "button",
      {
        type: "button",
        class: "switcher",
        "aria-haspopup": "menu",
        "aria-expanded": "false",
        dataset: { sidebarKey: "switcher" },
        title: "Act as another person",
        onclick: () =>
          openMenu(
            button,
            store.people().map((user) => ({
              label: [avatar(user.id, user.name, "avatar avatar-small"), ` ${user.name}`],
              detail: store.role(user.id),
              checked: user.id === store.me,
              onSelect: () => this.actAs(user.id),
            })),
            { label: "Act as", align: "start" },
          ),
      },
      avatar(store.me, me?.name ?? "?"),
      h(
        "span",
        { class: "switcher-text" },
        h("span", { class: "switcher-label" }, `Acting as ${store.role(store.me)}`),
        h("span", { class: "switcher-name" }, me?.name ?? "…"),
      ),
      icon("chevron", "icon icon-small"),
    );
    return button;
  }

  themeButton() {
    const [, label, picture] = THEMES.find(([name]) => name === theme());
    const button = h(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": `Theme: ${label}`,
        title: `Theme: ${label}`,
        "aria-haspopup": "menu",
        "aria-expanded": "false",
        dataset: { sidebarKey: "theme" },
        onclick: () =>
          openMenu(
            button,
            THEMES.map(([name, text]) => ({
              label: text,
              checked: name === theme(),
              onSelect: () => {
                setTheme(name);
                this.draw();
              },
            })),
            { label: "Theme", align: "start" },
          ),
      },
      icon(picture),
    );
    return button;
  }
}
