// The faults drawer: what Slack does on a bad day, armed for the next few calls of the bot.
import { api } from "./api.js";
import { h, uid } from "./dom.js";
import { attempt, toast } from "./toasts.js";

const METHODS = [
  "chat.postMessage",
  "chat.update",
  "chat.postEphemeral",
  "conversations.history",
  "conversations.replies",
  "files.getUploadURLExternal",
  "files.completeUploadExternal",
  "views.open",
  "views.update",
  "views.publish",
  "usergroups.users.list",
  "*",
];
const MODES = [
  ["500", "HTTP 500, nothing happens"],
  ["reset", "Connection reset, nothing happens"],
  ["reset_after_landing", "It happens, then the connection is reset"],
  ["timeout_after_landing", "It happens, the answer never comes"],
  ["late_landing", "Connection reset, it happens later"],
  ["slow", "It happens, the answer is late"],
];

export class FaultsForm {
  constructor() {
    this.armed = h("ul", { class: "fault-log", "aria-live": "polite", "aria-label": "Armed now" });
    this.pace = h("input", { type: "checkbox", onchange: () => this.control({ channel_limit: this.pace.checked }) });
    this.node = h(
      "div",
      { class: "faults" },
      h(
        "p",
        { class: "drawer-note" },
        "Armed for the bot’s next calls, then over. Every thread must come out whole all the same.",
      ),
      this.limits(),
      this.failures(),
      this.sockets(),
      h(
        "fieldset",
        { class: "fault-panel" },
        h("legend", {}, "Armed now"),
        this.armed,
        h(
          "button",
          { type: "button", class: "demo-button", onclick: () => this.control({ clear: true }) },
          "Clear all",
        ),
      ),
    );
  }

  limits() {
    const method = methods();
    const count = number("Calls", 3, 1, 1000);
    const wait = number("Retry-After, s", 2, 0, 300);
    const node = panel(
      "Rate limit (429)",
      [method, count, wait],
      [
        [
          "Arm rate limit",
          () =>
            this.control({ rate_limit: { method: method.value(), count: count.value(), retry_after: wait.value() } }),
        ],
      ],
    );
    node.append(h("label", { class: "fault-check" }, this.pace, "One message a second a channel, as Slack allows"));
    return node;
  }

  failures() {
    const method = methods();
    const mode = select("What happens", MODES);
    const count = number("Calls", 1, 1, 1000);
    const delay = number("Delay, s", 5, 0, 120);
    return panel(
      "Failures and time-outs",
      [method, mode, count, delay],
      [
        [
          "Arm failure",
          () =>
            this.control({
              fail: { method: method.value(), count: count.value(), mode: mode.value(), delay: delay.value() },
            }),
        ],
      ],
    );
  }

  sockets() {
    const cut = (how, text) => () => this.control({ disconnect_sockets: how }, text);
    return panel(
      "Socket Mode",
      [],
      [
        ["Disconnect (announced)", cut(true, "Sockets told to reconnect")],
        ["Cut abruptly", cut("abruptly", "Sockets cut")],
      ],
    );
  }

  /** Asks what is armed, and shows it. */
  async refresh() {
    const state = await attempt(() => api.faults());
    if (state) this.show(state);
  }

  async control(body, text) {
    const state = await attempt(() => api.control(body));
    if (!state) return;
    this.show(state);
    if (text) toast(text);
  }

  show({ faults = [], channel_limit: pace = false }) {
    this.pace.checked = Boolean(pace);
    const rows = faults.map(({ method, mode, count }) =>
      h("li", {}, `${method === "*" ? "any method" : method}: ${mode} × ${count}`),
    );
    this.armed.replaceChildren(...(rows.length ? rows : [h("li", {}, "Nothing: all calls go through.")]));
  }
}

const methods = () =>
  select(
    "Method",
    METHODS.map((name) => [name, name === "*" ? "any method" : name]),
  );

function panel(title, fields, actions) {
  return h(
    "fieldset",
    { class: "fault-panel" },
    h("legend", {}, title),
    h(
      "div",
      { class: "fault-fields" },
      fields.map((field) => field.node),
    ),
    h(
      "div",
      { class: "fault-actions" },
      actions.map(([label, onclick]) => h("button", { type: "button", class: "demo-button", onclick }, label)),
    ),
  );
}

function select(label, options) {
  const id = uid("fault");
  const control = h(
    "select",
    { id, class: "demo-input" },
    options.map(([value, text]) => h("option", { value }, text)),
  );
  return {
    node: h("div", { class: "fault-field fault-wide" }, h("label", { for: id }, label), control),
    value: () => control.value,
  };
}

function number(label, initial, least, most) {
  const id = uid("fault");
  const control = h("input", {
    id,
    class: "demo-input",
    type: "number",
    value: String(initial),
    min: least,
    max: most,
    step: 1,
    onchange: () => settle(),
  });
  // What is armed is what the field shows: a number out of range becomes the nearest one in it, and nothing becomes the first.
  const settle = () => {
    const typed = control.value.trim() === "" ? initial : Math.round(Number(control.value));
    const settled = Math.min(most, Math.max(least, Number.isFinite(typed) ? typed : initial));
    control.value = String(settled);
    return settled;
  };
  return {
    node: h("div", { class: "fault-field" }, h("label", { for: id }, label), control),
    value: settle,
  };
}
