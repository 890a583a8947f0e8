// Where blocks stand: a message, a modal or the app's home. A surface keeps what the reader entered, across redraws, and
// carries clicks to the app.
import { api } from "./api.js";
import { attempt } from "./toasts.js";

export class Surface {
  /** `address` is what the API needs to find the surface again: {channel, message_ts} or {view_id}. */
  constructor(kind, address) {
    this.kind = kind;
    this.address = address;
    this.values = {};
    this.errors = {};
  }

  get(blockId, actionId) {
    return this.values[blockId]?.[actionId];
  }

  /** Keeps a value as Slack's `state.values` holds it: {type, …selection}. */
  set(blockId, actionId, value) {
    this.values[blockId] = { ...this.values[blockId], [actionId]: value };
  }

  /** Drops what belongs to blocks that are no longer shown. */
  keepOnly(blocks) {
    const shown = new Set(blocks.map((block) => block.block_id));
    this.values = Object.fromEntries(Object.entries(this.values).filter(([blockId]) => shown.has(blockId)));
  }

  /** Tells the app that an element was used; true when it was delivered. */
  async act(element, blockId, selection) {
    const action = { type: element.type, action_id: element.action_id, block_id: blockId, ...selection };
    const answer = await attempt(() => api.action({ ...this.address, action, state: { values: this.values } }));
    return answer !== undefined;
  }

  /** The options that the app offers for what was typed into an external select, as groups. */
  async suggest(element, blockId, value) {
    const answer = await api.suggestion({ ...this.address, action_id: element.action_id, block_id: blockId, value });
    return answer.option_groups ?? [{ options: answer.options ?? [] }];
  }
}

const messageSurfaces = new Map();

/** The surface of a message; the same one for each redraw of it. */
export function messageSurface(channel, ts) {
  const key = `${channel}/${ts}`;
  if (!messageSurfaces.has(key)) messageSurfaces.set(key, new Surface("message", { channel, message_ts: ts }));
  return messageSurfaces.get(key);
}

/** The blocks, each with a block_id, and each element with an action_id: what the workspace did not give is numbered. */
export function named(blocks) {
  return (blocks ?? []).map((block, index) => ({ ...block, block_id: block.block_id ?? `block-${index}` }));
}
