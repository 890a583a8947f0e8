// One message as a row: author, time, content, files, reactions, its thread, and the tools that appear over it.
import { api } from "./api.js";
import { renderAttachments, renderBlocks } from "./blocks.js";
import { ago, clock, fullTime, shortClock } from "./dates.js";
import { h, nodes } from "./dom.js";
import { emojiNode } from "./emoji.js";
import { fileCard } from "./files.js";
import { icon } from "./icons.js";
import { mrkdwn, plainText } from "./inline.js";
import { author, avatar } from "./people.js";
import { permalink } from "./permalinks.js";
import { openMenu } from "./popover.js";
import { store } from "./store.js";
import { messageSurface, named } from "./surfaces.js";
import { attempt, toast } from "./toasts.js";

/** A row. `place`: {channel, inThread, grouped (no avatar and name: it follows its author's last), fresh (unseen replies), openThread(ts)}. */
export function messageRow(message, place) {
  const { channel, inThread, grouped } = place;
  const who = author(message);
  const time = h(
    "a",
    {
      class: "message-time",
      href: permalink(channel, message.ts, message.thread_ts),
      title: fullTime(message.ts),
      dataset: { channel, ts: message.ts, threadTs: message.thread_ts ?? "" },
    },
    grouped ? shortClock(message.ts) : clock(message.ts),
  );
  const classes = ["message", grouped ? "grouped" : "", message.is_ephemeral ? "ephemeral" : ""];
  return h(
    "article",
    {
      class: classes.filter(Boolean).join(" "),
      dataset: { ts: message.ts },
      "aria-label": `${who.name}, ${clock(message.ts)}`,
      tabindex: "-1",
    },
    message.is_ephemeral
      ? h("div", { class: "message-note" }, icon("eye", "icon icon-small"), "Only visible to you")
      : null,
    message.subtype === "thread_broadcast"
      ? h(
          "div",
          { class: "message-note" },
          icon("reply", "icon icon-small"),
          inThread ? "Also sent to the channel" : "Replied to a thread",
        )
      : null,
    h(
      "div",
      { class: "message-columns" },
      h("div", { class: "message-gutter" }, grouped ? time : avatar(who.id, who.name)),
      h(
        "div",
        { class: "message-main" },
        grouped
          ? null
          : h(
              "div",
              { class: "message-head" },
              h("span", { class: "message-author" }, who.name),
              who.app ? h("span", { class: "badge" }, "APP") : null,
              time,
            ),
        content(message, channel),
        files(message),
        reactions(message),
        message.is_ephemeral ? dismiss(message, channel) : null,
        inThread ? null : threadBar(message, place),
      ),
    ),
    toolbar(message, place),
  );
}

function content(message, channel) {
  if (message.subtype === "tombstone")
    return h("div", { class: "message-text tombstone" }, "This message was deleted.");
  const surface = messageSurface(channel, message.ts);
  const blocks = named(message.blocks);
  surface.keepOnly(blocks);
  const body = blocks.length
    ? renderBlocks(blocks, surface)
    : message.text
      ? [h("div", { class: "message-text" }, message.mrkdwn === false ? plainText(message.text) : mrkdwn(message.text))]
      : [];
  const edited = message.edited
    ? h("span", { class: "edited", title: `Edited ${fullTime(message.edited.ts)}` }, "(edited)")
    : null;
  return [
    h("div", { class: blocks.length ? "message-blocks" : "message-plain" }, body, edited),
    renderAttachments(message.attachments, surface),
  ];
}

function files(message) {
  return message.files?.length ? h("div", { class: "message-files" }, message.files.map(fileCard)) : null;
}

function reactions(message) {
  if (!message.reactions?.length) return null;
  return h(
    "div",
    { class: "reactions" },
    message.reactions.map((reaction) => {
      const names = (reaction.users ?? []).map((id) => store.users.get(id)?.name ?? id).join(", ");
      return h(
        "span",
        { class: "reaction", title: `${names} reacted with :${reaction.name}:` },
        emojiNode(reaction.name),
        ` ${reaction.count ?? reaction.users?.length ?? 1}`,
      );
    }),
  );
}

function dismiss(message, channel) {
  return h(
    "button",
    { type: "button", class: "link-button dismiss", onclick: () => store.dismiss(channel, message.ts) },
    "Dismiss message",
  );
}

function threadBar(message, { openThread, fresh }) {
  if (!message.reply_count) return null;
  const count = message.reply_count === 1 ? "1 reply" : `${message.reply_count} replies`;
  const last = Number(message.latest_reply);
  return h(
    "button",
    { type: "button", class: "thread-bar", dataset: { key: "thread-bar" }, onclick: () => openThread(message.ts) },
    h(
      "span",
      { class: "thread-bar-people" },
      (message.reply_users ?? [])
        .slice(0, 5)
        .map((id) => avatar(id, store.users.get(id)?.name ?? id, "avatar avatar-small")),
    ),
    h("span", { class: "thread-bar-count" }, count),
    fresh ? h("span", { class: "thread-bar-new" }, `${fresh} new`) : null,
    h(
      "span",
      { class: "thread-bar-last" },
      "Last reply ",
      h("time", { dataset: { seconds: String(last), pattern: "{ago}", fallback: "" } }, ago(last)),
    ),
    h("span", { class: "thread-bar-open" }, "View thread"),
  );
}

function toolbar(message, place) {
  if (message.is_ephemeral || message.subtype === "tombstone") return null;
  const tools = [
    place.inThread
      ? null
      : tool("reply", "Reply in thread", () => place.openThread(message.thread_ts ?? message.ts, { compose: true })),
    tool(
      "more",
      "More actions",
      (event) => openMenu(event.currentTarget, menu(message, place), { label: "Message actions" }),
      { "aria-haspopup": "menu", "aria-expanded": "false" },
    ),
  ];
  return h("div", { class: "toolbar", role: "toolbar", "aria-label": "Message" }, nodes(tools));
}

function tool(name, label, onclick, more = {}) {
  return h(
    "button",
    {
      type: "button",
      class: "icon-button",
      "aria-label": label,
      title: label,
      dataset: { key: label },
      onclick,
      ...more,
    },
    icon(name),
  );
}

function menu(message, { channel, inThread, openThread }) {
  const shortcuts = store.shortcuts.filter(({ type }) => type !== "global");
  const app = store.users.get(store.bot.user_id)?.name ?? "app";
  const items = [
    { label: "Copy link", onSelect: () => copy(permalink(channel, message.ts, message.thread_ts)) },
    ...shortcuts.map((shortcut) => ({
      label: shortcut.name,
      detail: app,
      onSelect: () =>
        attempt(() => api.shortcut({ callback_id: shortcut.callback_id, channel, message_ts: message.ts })),
    })),
  ];
  if (!inThread)
    items.unshift({
      label: "Reply in thread",
      onSelect: () => openThread(message.thread_ts ?? message.ts, { compose: true }),
    });
  if (shortcuts.length) items.splice(items.length - shortcuts.length, 0, { separator: true });
  return items;
}

async function copy(text) {
  await attempt(async () => {
    await navigator.clipboard.writeText(text);
    toast("Link copied");
  });
}
