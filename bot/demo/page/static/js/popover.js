// One floating panel at a time, beside the control that opened it: menus, option lists, hints.
import { h } from "./dom.js";

let open = null;

/** Shows `content` at `anchor`; it closes on Escape, on a click elsewhere, or by `close()`. */
export function openPopover(
  anchor,
  content,
  { onClose, label, className = "", role = "dialog", focus = true, matchWidth = false, align = "start" } = {},
) {
  closePopover();
  const panel = h("div", { class: `popover ${className}`, role, "aria-label": label }, content);
  (anchor.closest("dialog") ?? document.body).append(panel);
  open = { anchor, panel, onClose, matchWidth, align };
  anchor.setAttribute("aria-expanded", "true");
  place();
  if (focus) (panel.querySelector("[data-autofocus]") ?? panel.querySelector("button, input, [tabindex]"))?.focus();
  return panel;
}

export function closePopover({ refocus = false } = {}) {
  if (!open) return;
  const { anchor, panel, onClose } = open;
  open = null;
  panel.remove();
  anchor.setAttribute("aria-expanded", "false");
  if (refocus && anchor.isConnected) anchor.focus({ preventScroll: true });
  onClose?.();
}

export const popoverOpen = (anchor) => open !== null && (!anchor || open.anchor === anchor);

/** Puts the open panel beside its anchor again: its content grew, or the page moved. */
export function place() {
  if (!open) return;
  const { anchor, panel, matchWidth, align } = open;
  if (!anchor.isConnected) {
    closePopover();
    return;
  }
  const at = anchor.getBoundingClientRect();
  if (matchWidth) panel.style.width = `${Math.max(at.width, 220)}px`;
  const { offsetWidth: width, offsetHeight: height } = panel;
  const below = innerHeight - at.bottom - 8;
  const top = below >= height || below >= at.top ? at.bottom + 4 : at.top - height - 4;
  const left = align === "end" ? at.right - width : at.left;
  panel.style.top = `${Math.max(8, Math.min(top, innerHeight - height - 8))}px`;
  panel.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
}

/** A menu of buttons; arrows move, Enter chooses. Items are {label, icon?, detail?, danger?, checked?, onSelect}. */
export function openMenu(anchor, items, { label, align = "end" } = {}) {
  const checkable = items.some((item) => item.checked !== undefined);
  const buttons = items.map((item) =>
    item.separator
      ? h("div", { class: "menu-separator", role: "separator" })
      : h(
          "button",
          {
            type: "button",
            class: `menu-item${item.danger ? " danger" : ""}`,
            role: checkable ? "menuitemradio" : "menuitem",
            "aria-checked": checkable ? String(Boolean(item.checked)) : null,
            onclick: () => {
              closePopover({ refocus: true });
              item.onSelect();
            },
          },
          h("span", { class: "menu-label" }, item.label),
          item.detail ? h("span", { class: "menu-detail" }, item.detail) : null,
        ),
  );
  const panel = openPopover(anchor, buttons, { label, role: "menu", className: "menu", align });
  panel.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...panel.querySelectorAll("button")];
    all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
  });
}

addEventListener(
  "keydown",
  (event) => {
    if (event.key !== "Escape" || !open) return;
    event.preventDefault();
    event.stopPropagation();
    closePopover({ refocus: true });
  },
  true,
);

addEventListener(
  "pointerdown",
  (event) => {
    if (open && !open.panel.contains(event.target) && !open.anchor.contains(event.target)) closePopover();
  },
  true,
);

addEventListener("focusin", (event) => {
  if (open && !open.panel.contains(event.target) && !open.anchor.contains(event.target)) closePopover();
});

addEventListener("resize", place);
addEventListener(
  "scroll",
  (event) => {
    if (open && !open.panel.contains(event.target)) place();
  },
  true,
);
