// Who wrote: names and avatars. The bot has its own picture; people have a coloured tile with the mark of their role.
import { h, svg } from "./dom.js";
import { store } from "./store.js";

const SLACKBOT = "USLACKBOT";
const TILES = 6;

/** {name, app, tile} of a message's author. */
export function author(message) {
  const id = message.user ?? message.bot_id ?? "";
  const user = store.users.get(id);
  const app =
    Boolean(message.bot_id ?? message.app_id) || id === store.bot.user_id || id === SLACKBOT || Boolean(user?.is_bot);
  return {
    id,
    name: message.username ?? user?.name ?? message.bot_profile?.name ?? (id === SLACKBOT ? "Slackbot" : id),
    app,
  };
}

/** The picture beside a message or a name. */
export function avatar(id, name, className = "avatar") {
  if (id === store.bot.user_id || store.users.get(id)?.is_bot) return botAvatar(className);
  if (id === SLACKBOT) return h("span", { class: `${className} tile-slackbot`, "aria-hidden": "true" }, "S");
  const order = Math.max([...store.users.keys()].indexOf(id), 0) % TILES;
  const initials = name
    .split(/[\s_-]+/)
    .map((word) => [...word][0] ?? "")
    .join("")
    .slice(0, 2)
    .toUpperCase();
  return h("span", { class: `${className} tile-${order}`, "aria-hidden": "true" }, initials);
}

// A heartbeat that stops: what this app is about.
function botAvatar(className) {
  return svg(
    "svg",
    { viewBox: "0 0 36 36", class: `${className} avatar-bot`, "aria-hidden": "true", focusable: "false" },
    svg("rect", { width: 36, height: 36, fill: "#b3261e" }),
    svg("path", {
      d: "M4 20h7l3-10 5 17 4-11h2.500H32",
      fill: "none",
      stroke: "#fff",
      "stroke-width": 2.6,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    }),
  );
}
