// Where a person writes: messages, slash commands, mentions. Enter sends, Shift+Enter starts a new line.
import { api } from "./api.js";
import { h, uid } from "./dom.js";
import { icon } from "./icons.js";
import { escape } from "./mrkdwn.js";
import { openMenu } from "./popover.js";
import { store } from "./store.js";
import { attempt } from "./toasts.js";

const TALLEST = 220;

export class Composer {
  constructor({ channel, threadTs = "", placeholder }) {
    Object.assign(this, { channel, threadTs, items: [], active: 0, sent: [], recall: 0 });
    this.draftKey = `${channel}/${threadTs}`;
    const listId = uid("hints");
    this.list = h("div", { class: "hints", role: "listbox", id: listId, "aria-label": "Suggestions", hidden: true });
    this.usage = h("div", { class: "usage", hidden: true });
    this.input = h("textarea", {
      class: "composer-input",
      id: threadTs ? "composer-thread" : "composer-channel",
      rows: "1",
      placeholder,
      "aria-label": placeholder,
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": listId,
      "aria-autocomplete": "list",
      spellcheck: "true",
      value: store.drafts.get(this.draftKey) ?? "",
      oninput: () => this.changed(),
      onkeydown: (event) => this.key(event),
      onclick: () => this.suggest(),
      onblur: () => this.hide(),
    });
    this.button = h(
      "button",
      { type: "button", class: "send", "aria-label": "Send", title: "Send", onclick: () => this.send() },
      icon("send"),
    );
    this.node = h(
      "form",
      { class: "composer", onsubmit: (event) => event.preventDefault() },
      this.list,
      h(
        "div",
        { class: "composer-box" },
        this.input,
        h(
          "div",
          { class: "composer-bar" },
          this.insertButton("at", "Mention someone", "@"),
          threadTs ? null : this.insertButton("slash", "Slash command", "/"),
          threadTs ? null : shortcutsButton(),
          h(
            "span",
            { class: "composer-tip" },
            h("kbd", {}, "Enter"),
            " sends, ",
            h("kbd", {}, "Shift"),
            "+",
            h("kbd", {}, "Enter"),
            " new line",
          ),
          this.button,
        ),
      ),
      this.usage,
    );
    queueMicrotask(() => this.changed(false));
  }

  focus() {
    this.input.focus();
  }

  insertButton(name, label, text) {
    return h(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": label,
        title: label,
        onclick: () => {
          this.input.focus();
          if (text === "/" && this.input.value) return;
          this.input.setRangeText(text, this.input.selectionStart, this.input.selectionEnd, "end");
          this.changed();
        },
      },
      icon(name),
    );
  }

  changed(suggest = true) {
    const { input } = this;
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, TALLEST)}px`;
    this.button.disabled = !input.value.trim();
    if (input.value) store.drafts.set(this.draftKey, input.value);
    else store.drafts.delete(this.draftKey);
    const command = this.command();
    this.usage.hidden = !command || this.threadTs !== "";
    if (command) this.usage.replaceChildren(h("strong", {}, command.command), ` ${command.usage_hint ?? ""}`);
    if (suggest) this.suggest();
  }

  /** The known slash command that stands at the start, with a space after it. */
  command() {
    return store.commands.find(({ command }) => this.input.value.startsWith(`${command} `));
  }

  suggest() {
    const before = this.input.value.slice(0, this.input.selectionStart);
    this.items =
      this.threadTs && before.startsWith("/") ? [] : (this.commandHints(before) ?? this.mentionHints(before) ?? []);
    this.active = 0;
    this.drawHints();
  }

  commandHints(before) {
    if (/^\/\S*$/.test(before)) {
      return store.commands
        .filter(({ command }) => command.startsWith(before))
        .map((entry) => ({
          label: entry.command,
          usage: entry.usage_hint,
          detail: entry.description,
          start: 0,
          insert: `${entry.command} `,
        }));
    }
    const command = this.command();
    const rest = command ? before.slice(command.command.length + 1) : "";
    if (!command || /\s/.test(rest)) return null;
    return alternatives(command.usage_hint)
      .filter(({ word }) => word.startsWith(rest) && word !== rest)
      .map(({ word, whole }) => ({
        label: `${command.command} ${whole}`,
        start: command.command.length + 1,
        insert: `${word} `,
      }));
  }

  mentionHints(before) {
    const match = /(?:^|[\s(])@([\w-]{0,30})$/.exec(before);
    if (!match) return null;
    const wanted = match[1].toLowerCase();
    const start = before.length - match[1].length - 1;
    const people = [...store.users.values()].map((user) => ({
      label: `@${user.name}`,
      detail: user.title,
      badge: user.is_bot ? "APP" : null,
    }));
    const groups = [...store.usergroups.values()].map((group) => ({ label: `@${group.handle}`, detail: group.name }));
    return [...people, ...groups]
      .filter(({ label }) => label.slice(1).toLowerCase().startsWith(wanted))
      .slice(0, 8)
      .map((item) => ({ ...item, start, insert: `${item.label} ` }));
  }

  drawHints() {
    this.rows = this.items.map((item, index) =>
      h(
        "div",
        {
          class: "hint",
          role: "option",
          id: uid("hint"),
          "aria-selected": String(index === this.active),
          onpointerdown: (event) => {
            event.preventDefault();
            this.accept(item);
          },
        },
        h("span", { class: "hint-label" }, item.label),
        item.badge ? h("span", { class: "badge" }, item.badge) : null,
        item.usage ? h("span", { class: "hint-usage" }, item.usage) : null,
        item.detail ? h("span", { class: "hint-detail" }, item.detail) : null,
      ),
    );
    this.list.replaceChildren(...this.rows);
    this.list.hidden = this.rows.length === 0;
    this.input.setAttribute("aria-expanded", String(this.rows.length > 0));
    this.point(0);
  }

  point(index) {
    this.active = index;
    this.rows.forEach((row, at) => row.setAttribute("aria-selected", String(at === index)));
    const row = this.rows[index];
    if (row) this.input.setAttribute("aria-activedescendant", row.id);
    else this.input.removeAttribute("aria-activedescendant");
    row?.scrollIntoView({ block: "nearest" });
  }

  hide() {
    this.items = [];
    this.drawHints();
  }

  accept(item) {
    this.input.setRangeText(item.insert, item.start, this.input.selectionStart, "end");
    this.hide();
    this.changed();
  }

  key(event) {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (this.items.length && step) {
      event.preventDefault();
      this.point((this.active + step + this.items.length) % this.items.length);
    } else if (
      this.items.length &&
      (event.key === "Tab" || (event.key === "Enter" && !event.shiftKey && !this.complete()))
    ) {
      event.preventDefault();
      this.accept(this.items[this.active]);
    } else if (this.items.length && event.key === "Escape") {
      event.preventDefault();
      this.hide();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.send();
    } else if (step && this.sent.length && (!this.input.value || this.recall)) {
      event.preventDefault();
      this.again(step);
    }
  }

  // Enter sends what is a whole command already ("/panic") rather than accept the hint that spells the same.
  complete() {
    const item = this.items[this.active];
    return this.input.value === item.insert.trim() || (item.start > 0 && this.input.value.startsWith("/"));
  }

  again(step) {
    this.recall = Math.max(0, Math.min(this.sent.length, this.recall - step));
    this.input.value = this.recall ? this.sent[this.sent.length - this.recall] : "";
    this.changed(false);
  }

  async send() {
    const text = this.input.value.trim();
    if (!text) return;
    this.sent.push(text);
    this.recall = 0;
    this.input.value = "";
    this.hide();
    this.changed(false);
    try {
      await api.message(this.channel, text, this.threadTs);
    } catch (error) {
      this.refused(text, error);
    }
  }

  // The workspace answers commands in words of its own; what did not even reach it stays here to be sent again.
  refused(text, error) {
    this.input.value ||= text;
    this.changed(false);
    store.say(this.channel, `That was not sent. ${escape(error.message)}`, this.threadTs);
  }
}

// The app's global shortcuts, when it has any.
function shortcutsButton() {
  const shortcuts = store.shortcuts.filter(({ type }) => type === "global");
  if (!shortcuts.length) return null;
  const items = shortcuts.map(({ name, description, callback_id: callback }) => ({
    label: name,
    detail: description,
    onSelect: () => attempt(() => api.shortcut({ callback_id: callback })),
  }));
  const label = "Shortcuts";
  const open = (event) => openMenu(event.currentTarget, items, { label, align: "start" });
  const attributes = { "aria-label": label, title: label, "aria-haspopup": "menu", "aria-expanded": "false" };
  return h("button", { type: "button", class: "icon-button", onclick: open, ...attributes }, icon("bolt"));
}

// "list | show P-1 | help" → its alternatives, each with its first word.
function alternatives(usage = "") {
  const parts = usage
    .replace(/^\[|\]$/g, "")
    .split("|")
    .map((part) => part.trim())
    .filter(Boolean);
  return parts.length > 1
    ? parts.map((whole) => ({ whole, word: whole.split(/\s/)[0] })).filter(({ word }) => /^[a-z]/.test(word))
    : [];
}
