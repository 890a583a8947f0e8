// Building nodes. Every text of the page goes through here as a text node or an attribute: no markup is ever parsed from data.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "indeterminate", "readOnly", "tabIndex"]);
const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` attributes take functions; null, undefined and false leave an attribute or a child out. */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (PROPERTIES.has(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...nodes(children));
  return node;
}

/** An SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...nodes(children));
  return node;
}

/** The children flattened, without those that are null, undefined or false. */
export function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Puts `children` in the place of all that `node` holds. */
export function fill(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

let counter = 0;
/** An id that no other element of this page has. */
export function uid(prefix) {
  counter += 1;
  return `${prefix}-${counter}`;
}

/** The address when it is one that a message may link to (http, https, mailto), else null: `javascript:` and friends stay text. */
export function safeHref(address) {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Runs `work` and gives the focus back to the same control (by data-key) when a redraw inside `root` took it away. */
export function keepFocus(root, work) {
  const active = document.activeElement;
  const key = active && root.contains(active) ? active.dataset.key : undefined;
  const range = key && typeof active.selectionStart === "number" ? [active.selectionStart, active.selectionEnd] : null;
  work();
  if (!key || root.contains(document.activeElement)) return;
  const twin = [...root.querySelectorAll("[data-key]")].find((node) => node.dataset.key === key);
  if (!twin) return;
  twin.focus({ preventScroll: true });
  if (range && typeof twin.setSelectionRange === "function" && twin.type !== "number" && twin.type !== "email") {
    twin.setSelectionRange(...range);
  }
}

const SAID = 5000;
/** Says a sentence to screen readers. It is gone from the page soon after, so that nobody comes upon it again. */
export function announce(text) {
  const line = h("div", {}, text);
  document.getElementById("announcer").append(line);
  setTimeout(() => line.remove(), SAID);
}
