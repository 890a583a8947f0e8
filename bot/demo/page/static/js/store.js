// What the page knows: one store, fed by the API and the websocket, watched by the views.

const byTs = (a, b) => (a.ts < b.ts ? -1 : a.ts > b.ts ? 1 : 0);

/** What each demo user may do, when the workspace does not say it. */
const ROLES = { U0ONCALL: "responder", U0KERNEL: "responder", U0ADMIN: "admin", U0VIEWER: "viewer" };

const DISMISSED_KEY = "panicroom-dismissed";
const DISMISSED_KEPT = 200;
const dismissed = new Set(JSON.parse(sessionStorage.getItem(DISMISSED_KEY) ?? "[]"));

class Store extends EventTarget {
  constructor() {
    super();
    this.me = "";
    this.team = { name: "" };
    this.bot = { user_id: "", connected: false };
    this.users = new Map();
    this.channels = new Map();
    this.usergroups = new Map();
    this.commands = [];
    this.shortcuts = [];
    this.hosts = [];
    this.place = { view: "channel", channel: "" };
    this.thread = null;
    this.home = null;
    this.unreadSince = "";
    this.loading = new Set();
    this.forget();
  }

  /** Forgets all messages: another user looks, or the connection was lost for a while. */
  forget() {
    this.logs = new Map();
    this.threads = new Map();
    this.whispers = new Map();
    this.unread = new Map();
    this.news = new Map();
    this.drafts = new Map();
    this.older = new Map();
  }

  /** Tells the views that `topic` changed: sidebar, channel, thread, home, hosts, bot, place, posted. */
  tell(topic, detail = {}) {
    this.dispatchEvent(new CustomEvent(topic, { detail }));
  }

  watch(topics, work) {
    for (const topic of topics) this.addEventListener(topic, (event) => work(event.detail));
  }

  /** Takes the answer of /page/api/state. */
  takeState(state, me) {
    this.me = me;
    this.team = state.team ?? this.team;
    this.bot = { ...this.bot, ...state.bot };
    this.users = new Map(
      (state.users ?? []).map((user) => [user.id, { ...user, title: user.real_name ?? user.profile?.real_name ?? "" }]),
    );
    this.channels = new Map((state.channels ?? []).map((channel) => [channel.id, channel]));
    this.usergroups = new Map((state.usergroups ?? []).map((group) => [group.id, group]));
    this.commands = state.commands ?? [];
    this.shortcuts = state.shortcuts ?? [];
    this.home = state.home ?? null;
    this.tell("sidebar");
    this.tell("bot");
    this.tell("home");
  }

  role(id) {
    return this.users.get(id)?.role ?? ROLES[id] ?? "";
  }

  people() {
    return [...this.users.values()].filter((user) => !user.is_bot);
  }

  /** Channels for the sidebar, direct messages apart. */
  rooms() {
    return [...this.channels.values()].filter((channel) => !channel.is_im);
  }

  directMessages() {
    return [...this.channels.values()].filter((channel) => channel.is_im);
  }

  channelName(id) {
    const channel = this.channels.get(id);
    return channel?.is_im ? (this.users.get(this.bot.user_id)?.name ?? "app") : (channel?.name ?? id);
  }

  /**
   * Asks with `ask` and takes the answer with `take`. What arrives by the websocket meanwhile is put on top of the answer: it may
   * be newer than that.
   */
  async load(ask, take) {
    const meanwhile = [];
    this.loading.add(meanwhile);
    try {
      take(await ask());
    } finally {
      this.loading.delete(meanwhile);
    }
    for (const [type, channel, message] of meanwhile) this.put(type, channel, message);
  }

  /** Takes the newest messages of a channel, with what is told to this user only. */
  takeHistory(channel, { messages = [], ephemerals = [], has_more: more = false }) {
    this.logs.set(channel, new Map(messages.map((message) => [message.ts, message])));
    this.whispers.set(
      channel,
      new Map(
        ephemerals
          .filter(({ ts }) => !dismissed.has(ts))
          .map((message) => [message.ts, { ...message, is_ephemeral: true }]),
      ),
    );
    this.older.set(channel, more);
    this.tell("channel", { channel });
    this.tell("thread", { channel });
  }

  /** Takes messages from before those that are known. */
  takeOlder(channel, { messages = [], has_more: more = false }) {
    for (const message of messages) this.logs.get(channel).set(message.ts, message);
    this.older.set(channel, more);
    this.tell("channel", { channel });
  }

  takeReplies(channel, ts, messages) {
    this.threads.set(`${channel}/${ts}`, new Map(messages.map((message) => [message.ts, message])));
    this.tell("thread", { channel, ts });
  }

  /** What the channel pane shows, oldest first: messages and what only this user sees. */
  channelMessages(channel) {
    const whispers = [...(this.whispers.get(channel)?.values() ?? [])].filter((message) => !message.thread_ts);
    return [...(this.logs.get(channel)?.values() ?? []), ...whispers].sort(byTs);
  }

  /** What the thread pane shows, the parent first. */
  threadMessages(channel, ts) {
    const whispers = [...(this.whispers.get(channel)?.values() ?? [])].filter((message) => message.thread_ts === ts);
    return [...(this.threads.get(`${channel}/${ts}`)?.values() ?? []), ...whispers].sort(byTs);
  }

  message(channel, ts) {
    return (
      this.logs.get(channel)?.get(ts) ??
      [...this.threads.entries()].find(([key, log]) => key.startsWith(`${channel}/`) && log.has(ts))?.[1].get(ts)
    );
  }

  isTop(message) {
    return !message.thread_ts || message.thread_ts === message.ts || message.subtype === "thread_broadcast";
  }

  /** A message was posted, edited or deleted. */
  takeMessage(type, channel, message) {
    for (const meanwhile of this.loading) meanwhile.push([type, channel, message]);
    this.put(type, channel, message);
    if (type === "message_deleted") this.dropNews(channel, message);
    if (type !== "message") return;
    this.countUnread(channel, message);
    this.countNews(channel, message);
    this.tell("posted", { channel, message });
  }

  put(type, channel, message) {
    if (type === "ephemeral") {
      this.putWhisper(channel, message);
      return;
    }
    const removed = type === "message_deleted";
    const put = (log) => (removed ? log.delete(message.ts) : log.set(message.ts, { ...message }));
    const log = this.logs.get(channel);
    if (log && (this.isTop(message) || removed)) put(log);
    const thread = this.threads.get(`${channel}/${message.thread_ts ?? message.ts}`);
    if (thread) put(thread);
    if (removed) this.whispers.get(channel)?.delete(message.ts);
    this.tell("channel", { channel, message, type });
    this.tell("thread", { channel, ts: message.thread_ts ?? message.ts, message, type });
  }

  countUnread(channel, message) {
    const seen =
      this.place.view === "channel" && this.place.channel === channel && document.visibilityState === "visible";
    const mine = message.user === this.me;
    if (mine || seen || !this.channels.has(channel)) return;
    const mentions = this.mentionsMe(message) || Boolean(this.channels.get(channel).is_im);
    if (!this.isTop(message) && !mentions) return;
    const count = this.unread.get(channel) ?? { messages: 0, mentions: 0, since: message.ts };
    this.unread.set(channel, { ...count, messages: count.messages + 1, mentions: count.mentions + (mentions ? 1 : 0) });
    this.tell("sidebar");
  }

  /** A reply of somebody else is news until its thread is opened. */
  countNews(channel, message) {
    const ts = message.thread_ts;
    if (!ts || ts === message.ts || message.user === this.me) return;
    const open = this.thread?.channel === channel && this.thread.ts === ts;
    if (open && document.visibilityState === "visible") return;
    const key = `${channel}/${ts}`;
    const replies = this.news.get(key)?.replies ?? [];
    this.news.set(key, { channel, ts, replies: [...replies, message.ts] });
    this.tellNews(channel);
  }

  dropNews(channel, message) {
    const key = `${channel}/${message.thread_ts ?? message.ts}`;
    const news = this.news.get(key);
    if (!news) return;
    const replies = news.ts === message.ts ? [] : news.replies.filter((ts) => ts !== message.ts);
    if (replies.length) this.news.set(key, { ...news, replies });
    else this.news.delete(key);
    this.tellNews(channel);
  }

  tellNews(channel) {
    this.tell("channel", { channel });
    this.tell("sidebar");
  }

  /** How many replies of a thread this user has not seen. */
  newReplies(channel, ts) {
    return this.news.get(`${channel}/${ts}`)?.replies.length ?? 0;
  }

  /** Threads with replies that this user has not seen, {channel, ts, replies}, the latest first. */
  threadsWithNews() {
    return [...this.news.values()].sort((a, b) => (a.replies.at(-1) < b.replies.at(-1) ? 1 : -1));
  }

  /** The user sees this thread now. */
  readThread(channel, ts) {
    if (this.news.delete(`${channel}/${ts}`)) this.tellNews(channel);
  }

  readAllThreads() {
    const channels = new Set(this.threadsWithNews().map(({ channel }) => channel));
    this.news.clear();
    for (const channel of channels) this.tellNews(channel);
  }

  /** Whether a message calls this user: by name, by group, or everybody. */
  mentionsMe(message) {
    const groups = [...this.usergroups.values()]
      .filter((group) => group.users?.includes(this.me))
      .map((group) => group.id);
    const marks = ["<!channel>", "<!here>", "<!everyone>", `<@${this.me}`, ...groups.map((id) => `<!subteam^${id}`)];
    const leaves = [`"user_id":"${this.me}"`, ...groups.map((id) => `"usergroup_id":"${id}"`)];
    const text = `${message.text ?? ""}${JSON.stringify(message.blocks ?? "")}`;
    return [...marks, ...leaves].some((mark) => text.includes(mark));
  }

  /** Something was said to this user only. */
  takeWhisper(channel, message) {
    for (const meanwhile of this.loading) meanwhile.push(["ephemeral", channel, message]);
    this.putWhisper(channel, message);
  }

  putWhisper(channel, message) {
    if (!this.whispers.has(channel)) this.whispers.set(channel, new Map());
    this.whispers.get(channel).set(message.ts, { ...message, is_ephemeral: true });
    this.tell("channel", { channel, message, type: "ephemeral" });
    this.tell("thread", { channel, ts: message.thread_ts, message, type: "ephemeral" });
  }

  dropWhisper(channel, ts) {
    this.whispers.get(channel)?.delete(ts);
    this.tell("channel", { channel });
    this.tell("thread", { channel });
  }

  /** The user does not want to see it any more, in this tab. */
  dismiss(channel, ts) {
    dismissed.add(ts);
    sessionStorage.setItem(DISMISSED_KEY, JSON.stringify([...dismissed].slice(-DISMISSED_KEPT)));
    this.dropWhisper(channel, ts);
  }

  /** Something the page itself has to say to this user, as Slackbot would. */
  say(channel, text, threadTs) {
    const message = {
      ts: (Date.now() / 1000).toFixed(6),
      user: "USLACKBOT",
      username: "Slackbot",
      text,
      is_ephemeral: true,
      local: true,
    };
    if (threadTs) message.thread_ts = threadTs;
    this.takeWhisper(channel, message);
  }

  /** Goes to a channel or to the app's home. */
  go(place) {
    this.place = place;
    this.unreadSince = this.unread.get(place.channel)?.since ?? "";
    if (place.view === "channel") this.markRead(place.channel);
    this.tell("place");
    this.tell("sidebar");
  }

  markRead(channel) {
    if (this.unread.delete(channel)) this.tell("sidebar");
  }
}

export const store = new Store();
