// What a screen reader is told of: messages that arrive where the reader is, once each, in the words that are shown.
import { announce } from "./dom.js";
import { spoken } from "./inline.js";
import { author } from "./people.js";
import { store } from "./store.js";

const LONGEST = 160;

/** Announces what is posted to the open channel and the open thread by others. */
export function heraldMessages() {
  store.watch(["posted"], ({ channel, message }) => {
    if (message.user === store.me) return;
    const { thread, place } = store;
    const inThread = thread?.channel === channel && thread.ts === message.thread_ts && message.ts !== thread.ts;
    const inChannel = place.view === "channel" && place.channel === channel && store.isTop(message);
    if (!inThread && !inChannel) return;
    const words = spoken(message.text) || "new message";
    announce(`${inThread ? "In the thread, " : ""}${author(message).name}: ${words.slice(0, LONGEST)}`);
  });
}
