// What all interactive elements share: their attributes, their kept value, and what a change does.
import { confirmed } from "./dialogs.js";

/** The attributes that all controls share: the key that keeps the focus over redraws, the label, the error text. */
export function controlAttributes(element, { block, labelledBy, describedBy }) {
  return {
    dataset: { key: `${block.block_id}/${element.action_id ?? element.type}`, actionId: element.action_id ?? "" },
    "aria-labelledby": labelledBy,
    "aria-describedby": describedBy,
    autofocus: element.focus_on_load || null,
  };
}

/** The reader changed a value: keep it, and tell the app where that is due. A refused confirmation puts the old value back. */
export async function changed(element, place, selection, restore) {
  const { block, surface, acts } = place;
  const before = surface.get(block.block_id, element.action_id);
  surface.set(block.block_id, element.action_id, { type: element.type, ...selection });
  delete surface.errors[block.block_id];
  if (!acts) return;
  if (!(await confirmed(element.confirm))) {
    surface.set(block.block_id, element.action_id, before);
    restore?.();
    return;
  }
  await surface.act(element, block.block_id, selection);
}

/** The value kept for an element; the element's own initial value the first time it is drawn. */
export function current(element, { block, surface }, initial) {
  const kept = surface.get(block.block_id, element.action_id);
  if (kept) return kept;
  const first = { type: element.type, ...initial };
  surface.set(block.block_id, element.action_id, first);
  return first;
}
