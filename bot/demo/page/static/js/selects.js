// Select menus, single and multi: static, external, users, channels, conversations. A button that opens a list with a filter.
import { changed, controlAttributes, current } from "./controls.js";
import { h, uid } from "./dom.js";
import { icon } from "./icons.js";
import { textObject } from "./inline.js";
import { closePopover, openPopover, place as placePopover, popoverOpen } from "./popover.js";
import { store } from "./store.js";

const KINDS = {
  static: "option",
  external: "option",
  users: "user",
  channels: "channel",
  conversations: "conversation",
};
const TYPE = /^(multi_)?(static|external|users|channels|conversations)_select$/;
const SUGGEST_AFTER = 150;

export const isSelect = (type) => TYPE.test(type);

/** A select element as a node; see renderElement for `place`. */
export function renderSelect(element, place) {
  const [, multi, source] = TYPE.exec(element.type);
  const select = new Select(element, place, Boolean(multi), source);
  return select.node;
}

class Select {
  constructor(element, place, multi, source) {
    Object.assign(this, { element, place, multi, source });
    const kind = KINDS[source];
    this.field = multi ? `selected_${kind}s` : `selected_${kind}`;
    const initial = multi ? (element[`initial_${kind}s`] ?? []) : (element[`initial_${kind}`] ?? null);
    this.chosen = this.items(current(element, place, { [this.field]: initial })[this.field]);
    const name = element.placeholder?.text ?? (multi ? "Select options" : "Select an option");
    this.placeholder = name;
    this.value = h("span", { class: "select-value", id: uid("value") });
    const shared = controlAttributes(element, place);
    this.button = h(
      "button",
      {
        type: "button",
        class: "select-button",
        "aria-haspopup": "listbox",
        "aria-expanded": "false",
        ...shared,
        autofocus: null,
        "aria-labelledby": place.labelledBy ? `${place.labelledBy} ${this.value.id}` : null,
        "aria-label": place.labelledBy ? null : name,
        onclick: () => (popoverOpen(this.button) ? closePopover({ refocus: true }) : this.open()),
        onkeydown: (event) => {
          if (!["ArrowDown", "ArrowUp"].includes(event.key)) return;
          event.preventDefault();
          this.open();
        },
      },
      this.value,
      icon("chevron", "icon icon-small"),
    );
    this.node = h("div", { class: multi ? "select select-multi" : "select" }, this.button);
    this.show();
  }

  /** The selection of the payload as items {key, option?, label(): nodes, text}. */
  items(selection) {
    const values = this.multi ? (selection ?? []) : selection ? [selection] : [];
    return values.map((value) => (typeof value === "string" ? this.named(value) : optionItem(value)));
  }

  named(id) {
    const name = this.source === "users" ? (store.users.get(id)?.name ?? id) : `#${store.channelName(id)}`;
    return {
      key: id,
      label: () => [name],
      text: name,
      detail: this.source === "users" ? store.users.get(id)?.title : "",
    };
  }

  /** The items as Slack's payload has them. */
  selection(items = this.chosen) {
    const values = items.map((item) => item.option ?? item.key);
    return { [this.field]: this.multi ? values : (values[0] ?? null) };
  }

  show() {
    if (!this.multi) {
      this.value.replaceChildren(...(this.chosen.length ? this.chosen[0].label() : [this.placeholder]));
    } else {
      const chips = this.chosen.map((item) => h("span", { class: "chip" }, item.label()));
      this.value.replaceChildren(...(chips.length ? chips : [this.placeholder]));
    }
    this.button.classList.toggle("empty", this.chosen.length === 0);
  }

  open() {
    const listId = uid("list");
    this.before = JSON.stringify(this.selection());
    this.list = h("div", {
      class: "select-list",
      role: "listbox",
      id: listId,
      "aria-multiselectable": this.multi ? "true" : null,
      "aria-label": this.placeholder,
    });
    this.filter = h("input", {
      class: "input select-filter",
      type: "text",
      role: "combobox",
      "aria-expanded": "true",
      "aria-controls": listId,
      "aria-autocomplete": "list",
      "aria-label": "Filter",
      placeholder: this.source === "external" ? "Type to search" : "Filter",
      autocomplete: "off",
      dataset: { autofocus: "" },
      oninput: () => this.load(this.filter.value),
      onkeydown: (event) => this.key(event),
    });
    openPopover(this.button, [this.filter, this.list], {
      label: this.placeholder,
      className: "select-popover",
      matchWidth: true,
      onClose: () => this.closed(),
    });
    this.load("");
  }

  async load(query) {
    clearTimeout(this.timer);
    if (this.source !== "external") {
      this.draw(this.local(query));
      return;
    }
    const least = this.element.min_query_length ?? 3;
    if (query.length < least) {
      this.note(`Type ${least} or more characters to search`);
      return;
    }
    this.note("Searching…");
    this.timer = setTimeout(async () => {
      try {
        const groups = await this.place.surface.suggest(this.element, this.place.block.block_id, query);
        if (this.filter.value === query)
          this.draw(groups.map((group) => ({ label: group.label, items: (group.options ?? []).map(optionItem) })));
      } catch (error) {
        this.note(error.message);
      }
    }, SUGGEST_AFTER);
  }

  local(query) {
    const wanted = query.trim().toLowerCase();
    const fits = (item) => `${item.text} ${item.detail ?? ""}`.toLowerCase().includes(wanted);
    return this.groups()
      .map(({ label, items }) => ({ label, items: items.filter(fits) }))
      .filter(({ items }) => items.length);
  }

  groups() {
    if (this.source === "static") {
      const groups = this.element.option_groups ?? [{ options: this.element.options ?? [] }];
      return groups.map((group) => ({ label: group.label, items: group.options.map(optionItem) }));
    }
    const rooms = store.rooms().map((channel) => channel.id);
    const people = [...store.users.keys()];
    return [{ items: (this.source === "users" ? people : rooms).map((id) => this.named(id)) }];
  }

  note(text) {
    this.rows = [];
    this.list.replaceChildren(h("div", { class: "select-note", role: "status" }, text));
    placePopover();
  }

  draw(groups) {
    this.rows = [];
    const clear = !this.multi && this.place.optional && this.chosen.length && !this.filter.value;
    const chosen = new Set(this.chosen.map((item) => item.key));
    const row = (item) => {
      const node = h(
        "div",
        {
          class: "select-option",
          role: "option",
          id: uid("option"),
          "aria-selected": String(chosen.has(item.key)),
          onpointerdown: (event) => event.preventDefault(),
          onclick: () => this.choose(item),
        },
        icon("check", "icon icon-small option-check"),
        h(
          "span",
          { class: "option-text" },
          item.label(),
          item.detail ? h("span", { class: "choice-detail" }, item.detail) : null,
        ),
      );
      this.rows.push({ node, item });
      return node;
    };
    const drawn = groups.map(({ label, items }) =>
      h(
        "div",
        { role: "group", "aria-label": label?.text ?? null },
        label ? h("div", { class: "select-group" }, textObject(label)) : null,
        items.map(row),
      ),
    );
    if (clear) drawn.unshift(row({ key: null, label: () => ["Clear selection"], text: "" }));
    this.list.replaceChildren(...drawn);
    if (!this.rows.length) this.note("No matches");
    const first = this.rows.findIndex(({ item }) => chosen.has(item.key));
    this.point(Math.max(first, 0));
    placePopover();
  }

  point(index) {
    this.active = index;
    this.rows.forEach(({ node }, row) => node.classList.toggle("active", row === index));
    const node = this.rows[index]?.node;
    if (!node) return;
    this.filter.setAttribute("aria-activedescendant", node.id);
    node.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.rows.length) {
      event.preventDefault();
      this.point((this.active + step + this.rows.length) % this.rows.length);
    } else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      if (this.rows[this.active]) this.choose(this.rows[this.active].item);
    } else if (event.key === "Tab") {
      closePopover({ refocus: true });
    }
  }

  choose(item) {
    if (!this.multi) {
      this.chosen = item.key === null ? [] : [item];
      this.show();
      closePopover({ refocus: true });
      return;
    }
    const has = this.chosen.some((other) => other.key === item.key);
    const most = this.element.max_selected_items ?? Infinity;
    if (!has && this.chosen.length >= most) return;
    this.chosen = has ? this.chosen.filter((other) => other.key !== item.key) : [...this.chosen, item];
    this.show();
    const active = this.active;
    this.rows.forEach(({ node, item: other }) =>
      node.setAttribute("aria-selected", String(this.chosen.some((kept) => kept.key === other.key))),
    );
    this.point(active);
    placePopover();
  }

  // Slack tells the app when the menu closes: once for all that was picked in it.
  closed() {
    clearTimeout(this.timer);
    const before = JSON.parse(this.before);
    const selection = this.selection();
    if (JSON.stringify(selection) === this.before) return;
    changed(this.element, this.place, selection, () => {
      this.chosen = this.items(before[this.field]);
      this.show();
    });
  }
}

function optionItem(option) {
  return {
    key: option.value,
    option,
    label: () => textObject(option.text),
    text: option.text?.text ?? "",
    detail: option.description?.text,
  };
}
