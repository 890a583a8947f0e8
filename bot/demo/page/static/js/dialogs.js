// The small dialogs: confirm objects of Block Kit, and the page's own questions.
import { h, uid } from "./dom.js";
import { icon } from "./icons.js";
import { textObject } from "./inline.js";

/** A modal <dialog> that is shown at once and leaves the page when it closes. `onCancel` runs for Escape. */
export function showDialog(content, { labelledBy, className = "", onCancel } = {}) {
  const opener = document.activeElement;
  const dialog = h(
    "dialog",
    { class: `dialog ${className}`, "aria-labelledby": labelledBy, "aria-modal": "true" },
    content,
  );
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    onCancel?.();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks what a confirm object asks; resolves true for its confirm button. No object: true at once. */
export function confirmed(confirm) {
  if (!confirm) return Promise.resolve(true);
  return new Promise((resolve) => {
    const title = uid("confirm");
    let answer = false;
    const finish = (value) => {
      answer = value;
      dialog.close();
    };
    const dialog = showDialog(
      [
        h(
          "header",
          { class: "dialog-header" },
          h("h2", { id: title }, textObject(confirm.title)),
          h(
            "button",
            { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => finish(false) },
            icon("close"),
          ),
        ),
        h("div", { class: "dialog-body" }, textObject(confirm.text)),
        h(
          "footer",
          { class: "dialog-footer" },
          h("button", { type: "button", class: "button", onclick: () => finish(false) }, textObject(confirm.deny)),
          h(
            "button",
            {
              type: "button",
              class: `button ${confirm.style === "danger" ? "danger" : "primary"}`,
              autofocus: true,
              onclick: () => finish(true),
            },
            textObject(confirm.confirm),
          ),
        ),
      ],
      { labelledBy: title, className: "dialog-confirm", onCancel: () => finish(false) },
    );
    dialog.addEventListener("close", () => resolve(answer));
  });
}
