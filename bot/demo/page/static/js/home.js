// The app's Home tab.
import { api } from "./api.js";
import { renderBlocks } from "./blocks.js";
import { fill, h, keepFocus } from "./dom.js";
import { icon } from "./icons.js";
import { avatar } from "./people.js";
import { store } from "./store.js";
import { named, Surface } from "./surfaces.js";
import { attempt } from "./toasts.js";

export class HomeView {
  constructor(root, { openSidebar }) {
    Object.assign(this, { root, openSidebar, surface: null });
    store.watch(["home", "bot"], () => store.place.view === "home" && this.draw());
  }

  /** Shows the home; the app is told that it was opened, and may publish a newer one. */
  async show() {
    this.body = h("div", { class: "home-body" });
    fill(this.root, this.header(), h("div", { class: "home-scroll", tabindex: "0" }, this.body));
    this.draw();
    const answer = await attempt(() => api.homeOpen());
    if (answer?.view && !store.home) {
      store.home = answer.view;
      this.draw();
    }
  }

  header() {
    const name = store.users.get(store.bot.user_id)?.name ?? "App";
    return h(
      "header",
      { class: "pane-header home-header" },
      h(
        "button",
        { type: "button", class: "icon-button only-narrow", "aria-label": "Channels", onclick: this.openSidebar },
        icon("menu"),
      ),
      avatar(store.bot.user_id, name, "avatar avatar-small"),
      h("h1", { class: "pane-title" }, name),
      h("span", { class: "badge" }, "APP"),
      h("span", { class: "home-tab", "aria-current": "page" }, "Home"),
    );
  }

  draw() {
    if (!this.body) return;
    if (!store.home) {
      fill(
        this.body,
        h(
          "p",
          { class: "empty" },
          store.bot.connected
            ? "Nothing is published here yet."
            : "Panicroom is not connected, so it has not published its home yet.",
        ),
      );
      return;
    }
    if (this.surface?.address.view_id !== store.home.id) this.surface = new Surface("view", { view_id: store.home.id });
    const blocks = named(store.home.blocks);
    this.surface.keepOnly(blocks);
    keepFocus(this.body, () => fill(this.body, renderBlocks(blocks, this.surface)));
  }
}
