// The page's composition: builds the views, feeds the store from the API and the websocket, follows addresses.
import { api } from "./api.js";
import { ChannelView } from "./channel.js";
import { refreshAgo } from "./dates.js";
import { Demo } from "./demo.js";
import { fill, h } from "./dom.js";
import { heraldMessages } from "./herald.js";
import { HomeView } from "./home.js";
import { Modals } from "./modal.js";
import { parsePermalink } from "./permalinks.js";
import { closePopover } from "./popover.js";
import { Sidebar } from "./sidebar.js";
import { Feed } from "./socket.js";
import { store } from "./store.js";
import { applyTheme } from "./theme.js";
import { ThreadView } from "./thread.js";
import { attempt, makeRoomForToasts, toast } from "./toasts.js";

const FIRST_USER = "U0ONCALL";
const USER_KEY = "panicroom-user";
const AGO_EVERY = 20_000;

const byId = (id) => document.getElementById(id);
const openSidebar = () => document.body.classList.toggle("sidebar-open");
const closeSidebar = () => document.body.classList.remove("sidebar-open");
const openThread = (ts, options) => thread.open(store.place.channel, ts, options);

const modals = new Modals();
const demo = new Demo(byId("demo-strip"), byId("demo-drawer"));
const channel = new ChannelView(byId("main"), { openThread, openSidebar });
const home = new HomeView(byId("main"), { openSidebar });
const thread = new ThreadView(byId("thread"), { onClose: () => {} });
new Sidebar(byId("sidebar"), { actAs, close: closeSidebar, openThread: visit });
const feed = new Feed({ onEvent: take, onState: connection });
let wasConnected = false;

const TAKERS = {
  message: ({ type, channel: id, message }) => store.takeMessage(type, id, message),
  message_changed: ({ type, channel: id, message }) => store.takeMessage(type, id, message),
  message_deleted: ({ type, channel: id, message }) => store.takeMessage(type, id, message),
  ephemeral: ({ channel: id, message, thread_ts: threadTs }) =>
    store.takeWhisper(id, threadTs ? { ...message, thread_ts: threadTs } : message),
  ephemeral_deleted: ({ channel: id, message }) => store.dropWhisper(id, message.ts),
  modal: ({ view }) => modals.take(view),
  modal_closed: ({ view_id: viewId }) => modals.drop(viewId),
  home: ({ view }) => {
    store.home = view;
    store.tell("home");
  },
  hosts: ({ hosts }) => {
    store.hosts = hosts;
    store.tell("hosts");
  },
  bot: ({ connected }) => {
    store.bot = { ...store.bot, connected };
    store.tell("bot");
  },
  notice: ({ text }) => toast(text),
};

function take(event) {
  if (event.user && event.user !== store.me && event.type !== "message") return;
  TAKERS[event.type]?.(event);
  if (event.channel && !store.channels.has(event.channel)) learnChannels();
}

let learning = false;
/** A message came from a channel that is not known yet, such as a first direct message: asks for the list again. */
async function learnChannels() {
  if (learning) return;
  learning = true;
  await attempt(async () => store.takeState(await api.state(store.me), store.me));
  learning = false;
}

// After a lost connection everything may have changed: what is shown is asked for again.
async function connection(state, seconds) {
  const banner = byId("connection");
  if (state === "open") {
    banner.hidden = true;
    if (wasConnected) await attempt(refresh);
    wasConnected = true;
    return;
  }
  fill(
    banner,
    h("span", { class: "spinner" }),
    `Connection to the workspace lost. Reconnecting in ${seconds} s… `,
    h("button", { type: "button", class: "link-button", onclick: () => feed.now() }, "Try now"),
  );
  banner.hidden = false;
}

async function refresh() {
  store.takeState(await api.state(store.me), store.me);
  for (const id of store.logs.keys()) if (id !== store.place.channel) store.logs.delete(id);
  store.threads.clear();
  if (store.place.view === "channel") await channel.load();
  if (store.thread) await thread.load();
  await demo.load();
}

/** Acts as another person: their channels, their ephemeral messages, their home, their modals. */
async function actAs(user) {
  sessionStorage.setItem(USER_KEY, user);
  closePopover();
  modals.reset();
  thread.close();
  channel.reset();
  store.forget();
  store.me = user;
  const state = await api.state(user);
  store.takeState(state, user);
  wasConnected = false;
  await feed.ready();
  if (!store.channels.has(store.place.channel) && store.place.view === "channel") store.place = firstPlace();
  store.go(store.place);
  for (const view of state.modals ?? []) modals.take(view);
}

const firstPlace = () => ({ view: "channel", channel: store.channels.keys().next().value ?? "" });

/** The window's title: where one is, and how many messages elsewhere call. */
function title() {
  const calls = [...store.unread.values()].reduce((sum, { mentions }) => sum + mentions, 0);
  const here = store.place.view === "home" ? "Home" : `#${store.channelName(store.place.channel)}`;
  document.title = `${calls ? `(${calls}) ` : ""}${here} – Panicroom demo`;
}

async function showPlace() {
  title();
  if (store.place.view === "home") {
    thread.close();
    channel.reset();
    await home.show();
    return;
  }
  if (store.thread && store.thread.channel !== store.place.channel) thread.close();
  await channel.show(store.place.channel);
}

/** Goes to what a permalink names: a channel, a message, a reply in its thread. */
async function follow({ channel: id, ts, threadTs }) {
  if (!store.channels.has(id)) return;
  if (store.place.view !== "channel" || store.place.channel !== id) store.place = { view: "channel", channel: id };
  store.go(store.place);
  await channel.show(id, threadTs && threadTs !== ts ? threadTs : ts);
  if (threadTs && threadTs !== ts) await thread.open(id, threadTs, { reveal: ts });
  else if (ts && store.message(id, ts)?.reply_count) await thread.open(id, ts);
}

/** Goes to a thread from wherever the reader is. */
async function visit(id, ts) {
  if (store.place.view !== "channel" || store.place.channel !== id) store.go({ view: "channel", channel: id });
  await channel.show(id, ts);
  await thread.open(id, ts);
}

document.addEventListener("click", (event) => {
  const room = event.target.closest?.("[data-open-channel]");
  if (room) store.go({ view: "channel", channel: room.dataset.openChannel });
  const link = event.target.closest?.("a[data-channel]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    follow(link.dataset);
  }
  if (document.body.classList.contains("sidebar-open") && !event.target.closest?.("#sidebar, .only-narrow"))
    closeSidebar();
});

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  if (store.place.view === "channel") store.markRead(store.place.channel);
  if (store.thread) store.readThread(store.thread.channel, store.thread.ts);
});

/** What the address of the page asks for: /?channel=C…&message=…&thread_ts=…, where a permalink leads. */
function asked() {
  const query = new URLSearchParams(location.search);
  if (!query.has("channel")) return parsePermalink(location.href);
  return { channel: query.get("channel"), ts: query.get("message") ?? "", threadTs: query.get("thread_ts") ?? "" };
}

async function start() {
  applyTheme();
  makeRoomForToasts();
  heraldMessages();
  store.watch(["place"], showPlace);
  store.watch(["sidebar"], title);
  const user = sessionStorage.getItem(USER_KEY) ?? FIRST_USER;
  store.me = user;
  const state = await api.state(user);
  store.takeState(state, user);
  await feed.ready();
  const target = asked();
  store.place =
    target && store.channels.has(target.channel) ? { view: "channel", channel: target.channel } : firstPlace();
  if (target) history.replaceState(null, "", "/");
  store.go(store.place);
  for (const view of state.modals ?? []) modals.take(view);
  await demo.load();
  if (target?.ts) await follow(target);
  setInterval(() => document.visibilityState === "visible" && refreshAgo(), AGO_EVERY);
}

start().catch((error) => {
  console.error(error);
  const main = byId("main");
  fill(
    main,
    h("p", { class: "empty" }, `The workspace could not be loaded: ${error.message}`),
    h("button", { type: "button", class: "button", onclick: () => location.reload() }, "Try again"),
  );
});
