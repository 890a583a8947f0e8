// The strip above the workspace and its drawer: the world outside Slack. Replayed hosts that panic on demand, faults on demand.
import { api } from "./api.js";
import { fill, h } from "./dom.js";
import { FaultsForm } from "./faults.js";
import { icon } from "./icons.js";
import { PanicWatch } from "./panics.js";
import { store } from "./store.js";
import { attempt, toast } from "./toasts.js";

const STATES = { up: "up", rebooting: "rebooting", down: "down" };

export class Demo {
  constructor(strip, drawer) {
    Object.assign(this, { strip, drawer, tab: "hosts", busy: new Set() });
    this.faults = new FaultsForm();
    this.panics = new PanicWatch();
    this.strip.append(
      h("span", { class: "demo-tag" }, "DEMO"),
      h("span", { class: "demo-title" }, "Replayed hosts"),
      (this.chips = h("ul", { class: "host-chips", "aria-label": "Replayed hosts" })),
      h(
        "span",
        { class: "demo-buttons" },
        (this.panicButton = h(
          "button",
          { type: "button", class: "demo-button demo-panic", onclick: () => this.panic() },
          icon("bolt", "icon icon-small"),
          "Panic another host",
        )),
        (this.hostsButton = this.opener("hosts", "Hosts", "server")),
        (this.faultsButton = this.opener("faults", "Faults", "fault")),
      ),
    );
    this.drawer.addEventListener(
      "keydown",
      (event) => event.key === "Escape" && !event.defaultPrevented && this.close(),
    );
    store.watch(["hosts"], () => this.draw());
  }

  opener(tab, label, picture) {
    return h(
      "button",
      {
        type: "button",
        class: "demo-button",
        "aria-expanded": "false",
        "aria-controls": "demo-drawer",
        "aria-label": label,
        title: label,
        onclick: () => (!this.drawer.hidden && this.tab === tab ? this.close() : this.open(tab)),
      },
      icon(picture, "icon icon-small"),
      h("span", { class: "demo-button-label" }, label),
    );
  }

  async load() {
    const answer = await attempt(() => api.hosts());
    if (!answer) return;
    store.hosts = answer.hosts ?? [];
    store.tell("hosts");
  }

  draw() {
    fill(
      this.chips,
      store.hosts.map((host) =>
        h(
          "li",
          {},
          h(
            "button",
            {
              type: "button",
              class: `host-chip host-${STATES[host.state] ?? "down"}`,
              title: `${host.name}: ${host.state}. ${host.title ?? ""}`,
              "aria-label": `${host.name}, ${host.state}`,
              onclick: () => this.open("hosts", host.name),
            },
            h("span", { class: "host-dot" }),
            host.name,
          ),
        ),
      ),
    );
    this.panicButton.disabled = store.hosts.length === 0 || this.busy.has("");
    if (!this.drawer.hidden && this.tab === "hosts") this.drawTab();
  }

  open(tab, host = "") {
    this.opened = document.activeElement;
    this.tab = tab;
    this.drawer.hidden = false;
    document.body.classList.add("drawer-open");
    this.drawTab();
    this.mark();
    if (tab === "faults") this.faults.refresh();
    const row = host
      ? [...this.drawer.querySelectorAll("[data-host]")].find((node) => node.dataset.host === host)
      : null;
    row?.scrollIntoView({ block: "center" });
    (row?.querySelector("button") ?? this.drawer.querySelector("h2")).focus({ preventScroll: Boolean(row) });
  }

  close() {
    this.drawer.hidden = true;
    document.body.classList.remove("drawer-open");
    this.mark();
    if (this.opened?.isConnected) this.opened.focus({ preventScroll: true });
  }

  mark() {
    const shown = (tab) => String(!this.drawer.hidden && this.tab === tab);
    this.hostsButton.setAttribute("aria-expanded", shown("hosts"));
    this.faultsButton.setAttribute("aria-expanded", shown("faults"));
  }

  drawTab() {
    const scroll = this.drawer.querySelector(".drawer-body")?.scrollTop ?? 0;
    const focused = document.activeElement?.closest?.("[data-host]")?.dataset.host;
    fill(
      this.drawer,
      h(
        "header",
        { class: "drawer-header" },
        h("span", { class: "demo-tag" }, "DEMO"),
        h("h2", { tabindex: "-1" }, this.tab === "hosts" ? "Replayed hosts" : "Faults"),
        h(
          "button",
          { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => this.close() },
          icon("close"),
        ),
      ),
      h("div", { class: "drawer-body" }, this.tab === "hosts" ? this.hosts() : this.faults.node),
    );
    this.drawer.querySelector(".drawer-body").scrollTop = scroll;
    if (focused)
      [...this.drawer.querySelectorAll("[data-host]")]
        .find((node) => node.dataset.host === focused)
        ?.querySelector("button")
        ?.focus({ preventScroll: true });
  }

  hosts() {
    return [
      h(
        "p",
        { class: "drawer-note" },
        "Each host answers over SSH from a real capture of a virtual machine that died. Panic one: it goes down, reboots, and reports itself to the bot.",
      ),
      store.hosts.length ? null : h("p", { class: "drawer-note" }, "No hosts are running."),
      h(
        "ul",
        { class: "host-list" },
        store.hosts.map((host) =>
          h(
            "li",
            { class: "host", dataset: { host: host.name } },
            h(
              "div",
              { class: "host-head" },
              h("span", { class: `host-dot host-${STATES[host.state] ?? "down"}` }),
              h("span", { class: "host-name" }, host.name),
              h("span", { class: "host-state" }, host.state),
              h(
                "button",
                {
                  type: "button",
                  class: "demo-button",
                  disabled: this.busy.has(host.name) || host.state !== "up",
                  "aria-label": `Panic ${host.name}`,
                  onclick: () => this.panic(host.name),
                },
                icon("bolt", "icon icon-small"),
                "Panic",
              ),
            ),
            h("div", { class: "host-case" }, host.title ?? host.case ?? ""),
            h(
              "div",
              { class: "host-detail" },
              [
                host.ring && `ring ${host.ring}`,
                host.hardware,
                host.panics ? `${host.panics} ${host.panics === 1 ? "panic" : "panics"}` : null,
              ]
                .filter(Boolean)
                .join(" · "),
            ),
          ),
        ),
      ),
    ];
  }

  async panic(host = "") {
    this.busy.add(host);
    this.draw();
    const answer = await attempt(() => api.panic(host ? { host } : {}));
    this.busy.delete(host);
    this.draw();
    if (!answer) return;
    this.panics.expect(answer.host);
    toast(`${answer.host} panics now. Its report comes when it is up again.`);
  }
}
