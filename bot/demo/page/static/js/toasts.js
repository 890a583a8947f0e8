// Short notes in a corner: what went wrong, what was done. Errors stay longer.
import { h } from "./dom.js";
import { icon } from "./icons.js";

const STAY = { error: 9000, info: 5000 };

export function toast(text, kind = "info") {
  const note = h(
    "div",
    { class: `toast toast-${kind}` },
    h("span", { class: "toast-text" }, text),
    h(
      "button",
      { type: "button", class: "icon-button", "aria-label": "Dismiss", onclick: () => note.remove() },
      icon("close"),
    ),
  );
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), STAY[kind]);
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
