// What became of a panic that was made here: once the host's report is told, a toast says which thread has it.
import { api } from "./api.js";
import { spoken } from "./inline.js";
import { store } from "./store.js";
import { attempt, toast } from "./toasts.js";

const PATIENCE = 120_000;

/** Waits for the bot's word on panicked hosts. */
export class PanicWatch {
  constructor() {
    this.awaited = new Map();
    this.shown = null;
    store.watch(["posted"], ({ channel, message }) => this.heard(channel, message));
    store.watch(["channel"], ({ channel, message, type }) => {
      if (type === "message_changed") this.changed(channel, message);
    });
  }

  /** `host` panics now; its report is expected once it is up again. */
  expect(host) {
    this.awaited.set(host, Date.now() + PATIENCE);
  }

  heard(channel, message) {
    if (!this.awaited.size || !message.bot_id) return;
    const text = spoken(message.text);
    const words = text.split(/[^\w.-]+/).map((word) => word.replace(/\.$/, ""));
    if (!words.includes("panicked")) return;
    for (const [host, until] of this.awaited) {
      if (Date.now() > until) this.awaited.delete(host);
      else if (words.includes(host) && this.isBack(host)) {
        this.awaited.delete(host);
        this.tell(host, channel, message, text);
      }
    }
  }

  // What is said of a host that still reboots is about an earlier panic.
  isBack(host) {
    return store.hosts.find(({ name }) => name === host)?.state !== "rebooting";
  }

  async tell(host, channel, message, text) {
    const top = store.isTop(message);
    const ts = top ? message.ts : message.thread_ts;
    const sentence = (title) =>
      top ? `New incident: ${title}` : `${host} ${words.has("again") ? "is back in" : "joined"} “${title}”.`;
    const words = new Set(text.split(/\W+/));
    const parent = top ? message : (store.message(channel, ts) ?? (await this.parent(channel, ts)));
    const link = { label: "Open thread", channel, ts: message.ts, threadTs: ts };
    const note = toast(sentence(spoken(parent?.text)), "info", link);
    this.shown = { channel, ts, retell: (title) => note.say(sentence(title)) };
  }

  async parent(channel, ts) {
    const answer = await attempt(() => api.replies(channel, ts));
    return answer?.messages[0];
  }

  // The thread's head counts its hosts anew a moment later: the toast says what it says then.
  changed(channel, message) {
    if (this.shown?.channel === channel && this.shown.ts === message.ts) this.shown.retell(spoken(message.text));
  }
}
