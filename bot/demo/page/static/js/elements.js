// Block Kit's interactive elements, but for the selects: buttons, menus, choices, pickers, text inputs.
import { changed, controlAttributes, current } from "./controls.js";
import { confirmed } from "./dialogs.js";
import { h, safeHref, uid } from "./dom.js";
import { icon } from "./icons.js";
import { plainText, textObject } from "./inline.js";
import { openMenu } from "./popover.js";
import { isSelect, renderSelect } from "./selects.js";

/**
 * An element as a node. `place` says where it stands: {block, surface, acts, labelledBy?, describedBy?, optional?}; `acts` is
 * whether its use is told to the app at once (everywhere but in input blocks without dispatch_action).
 */
export function renderElement(element, place) {
  if (isSelect(element.type)) return renderSelect(element, place);
  const renderer = RENDERERS[element.type];
  return renderer
    ? renderer(element, place)
    : h("span", { class: "unknown" }, `Element “${element.type}” is not shown here`);
}

const RENDERERS = {
  button,
  workflow_button: button,
  icon_button: button,
  overflow,
  checkboxes,
  radio_buttons: radios,
  image,
  datepicker: picker("date", "selected_date", "initial_date"),
  timepicker: picker("time", "selected_time", "initial_time"),
  datetimepicker: dateTime,
  plain_text_input: textInput("text"),
  email_text_input: textInput("email"),
  url_text_input: textInput("url"),
  number_input: textInput("text"),
  rich_text_input: richTextInput,
};

function button(element, place) {
  const style = ["primary", "danger"].includes(element.style) ? ` ${element.style}` : "";
  const href = element.url ? safeHref(element.url) : null;
  const act = async () => {
    if (node.getAttribute("aria-busy") === "true" || !(await confirmed(element.confirm))) return;
    if (href) open(href, "_blank", "noopener,noreferrer");
    node.setAttribute("aria-busy", "true");
    await place.surface.act(element, place.block.block_id, {
      text: element.text,
      ...(element.value === undefined ? {} : { value: element.value }),
    });
    node.removeAttribute("aria-busy");
  };
  const node = h(
    "button",
    {
      type: "button",
      class: `button${style}`,
      ...controlAttributes(element, place),
      "aria-label": element.accessibility_label,
      onclick: act,
    },
    h("span", { class: "button-label" }, textObject(element.text)),
  );
  if (href) {
    node.title = href;
    node.append(icon("link", "icon icon-small"));
  }
  return node;
}

function overflow(element, place) {
  const items = (element.options ?? []).map((option) => ({
    label: textObject(option.text),
    detail: option.description ? textObject(option.description) : null,
    onSelect: async () => {
      if (!(await confirmed(element.confirm))) return;
      if (option.url && safeHref(option.url)) open(safeHref(option.url), "_blank", "noopener,noreferrer");
      await place.surface.act(element, place.block.block_id, { selected_option: option });
    },
  }));
  const node = h(
    "button",
    {
      type: "button",
      class: "button button-icon overflow",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      ...controlAttributes(element, place),
      "aria-label": "More actions",
      "aria-labelledby": null,
      onclick: () => openMenu(node, items, { label: "More actions" }),
    },
    icon("more"),
  );
  return node;
}

function optionText(option) {
  return [
    h("span", { class: "choice-label" }, textObject(option.text)),
    option.description ? h("span", { class: "choice-detail" }, textObject(option.description)) : null,
  ];
}

function checkboxes(element, place) {
  const kept = current(element, place, { selected_options: element.initial_options ?? [] });
  const chosen = new Set((kept.selected_options ?? []).map((option) => option.value));
  const boxes = [];
  const update = () => {
    const selected = element.options.filter((_, row) => boxes[row].checked);
    changed(element, place, { selected_options: selected }, () =>
      boxes.forEach((box, row) => (box.checked = chosen.has(element.options[row].value))),
    );
  };
  const { dataset, ...attributes } = controlAttributes(element, place);
  const rows = (element.options ?? []).map((option, row) => {
    const box = h("input", {
      type: "checkbox",
      checked: chosen.has(option.value),
      dataset: { ...dataset, key: `${dataset.key}/${row}` },
      onchange: update,
    });
    boxes.push(box);
    return h("label", { class: "choice" }, box, h("span", { class: "choice-text" }, optionText(option)));
  });
  return h("div", { class: "choices", role: "group", ...attributes }, rows);
}

function radios(element, place) {
  const kept = current(element, place, { selected_option: element.initial_option ?? null });
  const name = uid("radio");
  const { dataset, ...attributes } = controlAttributes(element, place);
  const rows = (element.options ?? []).map((option, row) => {
    const radio = h("input", {
      type: "radio",
      name,
      checked: kept.selected_option?.value === option.value,
      dataset: { ...dataset, key: `${dataset.key}/${row}` },
      onchange: () => changed(element, place, { selected_option: option }),
    });
    return h("label", { class: "choice" }, radio, h("span", { class: "choice-text" }, optionText(option)));
  });
  return h("div", { class: "choices", role: "radiogroup", ...attributes }, rows);
}

function picker(type, field, initialField) {
  return (element, place) => {
    const kept = current(element, place, { [field]: element[initialField] ?? null });
    const node = h("input", {
      type,
      class: "input input-short",
      value: kept[field] ?? "",
      ...controlAttributes(element, place),
      "aria-label": place.labelledBy ? null : (element.placeholder?.text ?? (type === "date" ? "Date" : "Time")),
      onchange: () => changed(element, place, { [field]: node.value || null }, () => (node.value = kept[field] ?? "")),
    });
    return node;
  };
}

function dateTime(element, place) {
  const local = (seconds) =>
    seconds
      ? new Date(seconds * 1000 - new Date(seconds * 1000).getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
      : "";
  const kept = current(element, place, { selected_date_time: element.initial_date_time ?? null });
  const node = h("input", {
    type: "datetime-local",
    class: "input input-short",
    value: local(kept.selected_date_time),
    ...controlAttributes(element, place),
    "aria-label": place.labelledBy ? null : "Date and time",
    onchange: () =>
      changed(element, place, {
        selected_date_time: node.value ? Math.floor(new Date(node.value).getTime() / 1000) : null,
      }),
  });
  return node;
}

function textInput(type) {
  return (element, place) => {
    const kept = current(element, place, { value: element.initial_value ?? null });
    const triggers = element.dispatch_action_config?.trigger_actions_on ?? ["on_enter_pressed"];
    const value = () => (node.value === "" ? null : node.value);
    const quiet = { ...place, acts: false };
    const node = h(element.multiline ? "textarea" : "input", {
      type: element.multiline ? null : type,
      class: "input",
      value: kept.value ?? "",
      rows: element.multiline ? "5" : null,
      inputmode: element.type === "number_input" ? "decimal" : null,
      autocomplete: "off",
      placeholder: element.placeholder?.text,
      maxlength: element.max_length,
      ...controlAttributes(element, place),
      oninput: () =>
        changed(element, place.acts && triggers.includes("on_character_entered") ? place : quiet, { value: value() }),
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.isComposing || (element.multiline && !event.metaKey && !event.ctrlKey))
          return;
        if (place.acts && triggers.includes("on_enter_pressed")) {
          event.preventDefault();
          changed(element, place, { value: value() });
        }
      },
    });
    return node;
  };
}

// A person writes plain paragraphs; the app gets them as the rich text they are.
function richTextInput(element, place) {
  const asText = (rich) =>
    (rich?.elements ?? []).map((part) => (part.elements ?? []).map((leaf) => leaf.text ?? "").join("")).join("\n");
  const kept = current(element, place, { rich_text_value: element.initial_value ?? null });
  const node = h("textarea", {
    class: "input",
    rows: "5",
    value: asText(kept.rich_text_value),
    placeholder: element.placeholder?.text,
    ...controlAttributes(element, place),
    oninput: () => {
      const leaves = node.value ? [{ type: "rich_text_section", elements: [{ type: "text", text: node.value }] }] : [];
      changed(
        element,
        { ...place, acts: false },
        { rich_text_value: leaves.length ? { type: "rich_text", elements: leaves } : null },
      );
    },
  });
  return node;
}

/** An image element or block: shown when it comes from this workspace, else named, so that a message cannot make the page call out. */
export function image(element, { className = "image-small" } = {}) {
  const source = new URL(element.image_url ?? element.slack_file?.url ?? "about:blank", location.origin);
  const alt = element.alt_text ?? "";
  if (source.origin === location.origin || /^data:image\/(?:png|jpeg|gif|webp);/.test(source.href)) {
    return h("img", { class: className, src: source.href, alt, title: alt, loading: "lazy" });
  }
  return h(
    "span",
    { class: "image-outside", title: "Pictures from elsewhere are not loaded in the demo" },
    icon("image"),
    plainText(alt || "image", false),
  );
}
