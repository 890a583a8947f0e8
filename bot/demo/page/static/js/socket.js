// The websocket from the workspace. It reconnects by itself: 0.5 s at first, then twice as long each time, 8 s at most.
import { store } from "./store.js";

const FIRST = 500;
const LONGEST = 8000;

/**
 * Keeps a connection for the present user. `onEvent` gets each event; `onState` is told "open", or "reconnecting" with the
 * seconds to the next try. A connection counts as open with its first event (the workspace sends one at once): from then on
 * nothing is missed, so what is fetched afterwards is whole.
 */
export class Feed {
  constructor({ onEvent, onState }) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.delay = FIRST;
    this.socket = null;
    this.timer = 0;
    this.waiting = [];
    addEventListener("online", () => this.now());
  }

  /** Connects, or connects again as another user. */
  connect() {
    clearTimeout(this.timer);
    const old = this.socket;
    this.socket = null;
    old?.close();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/page/ws?${new URLSearchParams({ user: store.me })}`);
    this.socket = socket;
    let heard = false;
    socket.addEventListener("message", (event) => {
      if (socket !== this.socket) return;
      if (!heard) this.opened();
      heard = true;
      this.onEvent(JSON.parse(event.data));
    });
    socket.addEventListener("close", () => {
      if (socket === this.socket) this.retry();
    });
  }

  opened() {
    this.delay = FIRST;
    this.onState("open", 0);
    this.waiting.splice(0).forEach((go) => go());
  }

  /** Connects and waits until it is open, `patience` ms at most: without it the page still shows what it can fetch. */
  async ready(patience = 3000) {
    const open = new Promise((resolve) => this.waiting.push(resolve));
    this.connect();
    await Promise.race([open, new Promise((resolve) => setTimeout(resolve, patience))]);
  }

  retry() {
    this.onState("reconnecting", this.delay / 1000);
    this.timer = setTimeout(() => this.connect(), this.delay);
    this.delay = Math.min(this.delay * 2, LONGEST);
  }

  /** Does not wait for the next try. */
  now() {
    this.delay = FIRST;
    this.connect();
  }
}
