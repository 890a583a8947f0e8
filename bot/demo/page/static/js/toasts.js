// Short notes in a corner: what went wrong, what was done. Two at most, the newest wins; gone after six seconds unless the
// reader points at one.
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { permalink } from "./permalinks.js";

const STAY = 6000;
const MOST = 2;

/** Shows `text`; `link` {label, channel, ts, threadTs} leads to a message. Gives `say(text)`, which changes the words. */
export function toast(text, kind = "info", link = null) {
  let timer = 0;
  const leave = () => {
    clearTimeout(timer);
    note.remove();
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(leave, STAY);
  };
  const hold = () => clearTimeout(timer);
  const words = h("span", { class: "toast-words" }, text);
  const note = h(
    "div",
    { class: `toast toast-${kind}`, onpointerenter: hold, onpointerleave: wait, onfocusin: hold, onfocusout: wait },
    h("span", { class: "toast-text" }, words, link ? [" ", leading(link, leave)] : null),
    h("button", { type: "button", class: "icon-button", "aria-label": "Dismiss", onclick: leave }, icon("close")),
  );
  const all = document.getElementById("toasts");
  while (all.children.length >= MOST) all.firstElementChild.remove();
  all.append(note);
  wait();
  return { say: (other) => fill(words, other) };
}

function leading({ label, channel, ts, threadTs }, onclick) {
  return h(
    "a",
    { class: "toast-link", href: permalink(channel, ts, threadTs), dataset: { channel, ts, threadTs }, onclick },
    label,
  );
}

/** Runs `work`; what fails is told to the reader. Gives the result, or undefined after a failure. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    toast(error.message, "error");
    if (!error.code) console.error(error);
    return undefined;
  }
}

/** Tells the stylesheet how much room the toasts take, so that on a narrow page the drawer ends above them. */
export function makeRoomForToasts() {
  const all = document.getElementById("toasts");
  const root = document.documentElement;
  new ResizeObserver(() => root.style.setProperty("--toast-room", `${all.offsetHeight}px`)).observe(all);
}
