// Modals: the stack of views that the app opened for this user. The workspace decides what is on it; this shows the top.
import { api, ApiError } from "./api.js";
import { renderBlocks } from "./blocks.js";
import { showDialog } from "./dialogs.js";
import { fill, h, keepFocus, uid } from "./dom.js";
import { problems } from "./forms.js";
import { icon } from "./icons.js";
import { plainText, textObject } from "./inline.js";
import { closePopover } from "./popover.js";
import { Surface, named } from "./surfaces.js";
import { attempt } from "./toasts.js";

export class Modals {
  constructor() {
    this.stack = [];
    this.dialog = null;
    this.surfaces = new Map();
  }

  get top() {
    return this.stack[this.stack.length - 1];
  }

  /** The app opened, updated or pushed a view. */
  take(view) {
    const at = this.stack.findIndex((other) => other.id === view.id);
    if (at >= 0) this.stack.splice(at, 1, view);
    else if (view.previous_view_id && this.top?.id === view.previous_view_id) this.stack.push(view);
    else this.stack = [view];
    if (!this.surfaces.has(view.id)) this.surfaces.set(view.id, new Surface("view", { view_id: view.id }));
    this.draw(at >= 0);
  }

  /** A view is gone, by whoever closed it. */
  drop(viewId) {
    this.stack = this.stack.filter((view) => view.id !== viewId);
    this.surfaces.delete(viewId);
    if (this.top) this.draw(false);
    else this.dialog?.close();
  }

  /** Another user is here now: what was open belongs to someone else. */
  reset() {
    this.stack = [];
    this.surfaces.clear();
    this.dialog?.close();
  }

  draw(sameView) {
    closePopover();
    if (!this.dialog) {
      this.titleId = uid("modal");
      this.head = h("header", { class: "dialog-header" });
      this.body = h("div", { class: "dialog-body modal-body" });
      this.foot = h("footer", { class: "dialog-footer" });
      const form = h(
        "form",
        { class: "modal-form", novalidate: true, onsubmit: (event) => this.submit(event) },
        this.head,
        this.body,
        this.foot,
      );
      this.dialog = showDialog(form, { labelledBy: this.titleId, className: "modal", onCancel: () => this.cancel() });
      this.dialog.addEventListener("close", () => (this.dialog = null));
    }
    const view = this.top;
    const scroll = sameView ? this.body.scrollTop : 0;
    keepFocus(this.dialog, () => this.fill(view));
    this.body.scrollTop = scroll;
    if (!this.dialog.contains(document.activeElement) || document.activeElement === this.dialog) this.focusFirst();
  }

  fill(view) {
    const surface = this.surfaces.get(view.id);
    const blocks = named(view.blocks);
    surface.keepOnly(blocks);
    const back = this.stack.length > 1;
    const close = view.close ? textObject(view.close) : back ? "Back" : "Cancel";
    fill(
      this.head,
      back
        ? h(
            "button",
            { type: "button", class: "icon-button", "aria-label": "Back", onclick: () => this.cancel() },
            icon("back"),
          )
        : null,
      h("h2", { id: this.titleId, tabindex: "-1" }, view.title ? textObject(view.title) : ""),
      h(
        "button",
        { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => this.cancel() },
        icon("close"),
      ),
    );
    fill(this.body, this.alert(surface), renderBlocks(blocks, surface));
    this.send = view.submit
      ? h(
          "button",
          {
            type: "submit",
            class: "button primary",
            disabled: Boolean(view.submit_disabled),
            dataset: { key: "submit" },
          },
          h("span", { class: "button-label" }, textObject(view.submit)),
        )
      : null;
    const hasInput = blocks.some((block) => block.type === "input");
    if (!this.send && hasInput) this.send = h("button", { type: "submit", class: "button primary" }, "Submit");
    fill(this.foot, h("button", { type: "button", class: "button", onclick: () => this.cancel() }, close), this.send);
  }

  alert(surface) {
    return surface.alert ? h("div", { class: "modal-alert", role: "alert" }, plainText(surface.alert)) : null;
  }

  focusFirst() {
    const first =
      this.body.querySelector("[autofocus]") ??
      this.body.querySelector("input, textarea, .select-button") ??
      this.head.querySelector("h2");
    first?.focus({ preventScroll: true });
  }

  async submit(event) {
    event.preventDefault();
    const view = this.top;
    if (!view || !this.send || this.send.disabled || this.send.getAttribute("aria-busy") === "true") return;
    const surface = this.surfaces.get(view.id);
    surface.alert = "";
    surface.errors = problems(named(view.blocks), surface);
    this.redraw();
    if (!Object.keys(surface.errors).length) await this.deliver(view, surface);
    if (this.top?.id === view.id) this.report(surface);
  }

  async deliver(view, surface) {
    this.send.setAttribute("aria-busy", "true");
    try {
      const answer = await api.viewSubmit(view.id, surface.values);
      surface.errors = answer.errors ?? {};
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      surface.alert = "We had some trouble connecting. Try again?";
    } finally {
      this.send?.removeAttribute("aria-busy");
    }
  }

  redraw() {
    keepFocus(this.dialog, () => this.fill(this.top));
  }

  // Shows the errors under their fields and takes the reader to the first of them.
  report(surface) {
    const failed = Object.keys(surface.errors).length > 0;
    if (!failed && !surface.alert) return;
    this.redraw();
    const first = this.body.querySelector(".invalid");
    first?.scrollIntoView({ block: "center" });
    (first?.querySelector("input, textarea, .select-button") ?? this.send)?.focus({ preventScroll: true });
  }

  cancel() {
    const view = this.top;
    if (!view) return;
    this.drop(view.id);
    attempt(() => api.viewClose(view.id));
  }
}
