// What Slack's client checks before it submits a modal. The app checks the rest.

const EMPTY = "Please complete this required field.";

/** {block_id: sentence} for the input blocks that are not filled in rightly. */
export function problems(blocks, surface) {
  const out = {};
  for (const block of blocks) {
    if (block.type !== "input") continue;
    const problem = check(block.element, surface.get(block.block_id, block.element.action_id), Boolean(block.optional));
    if (problem) out[block.block_id] = problem;
  }
  return out;
}

function check(element, kept, optional) {
  const value = chosen(kept);
  const empty = value === null || value === undefined || value === "" || (Array.isArray(value) && value.length === 0);
  if (empty) return optional ? null : EMPTY;
  switch (element.type) {
    case "plain_text_input":
      return length(value, element);
    case "number_input":
      return number(value, element);
    case "email_text_input":
      return /^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(value) ? null : "Enter an email address.";
    case "url_text_input":
      return /^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(value) ? null : "Enter a link, for example https://example.com";
    default:
      return null;
  }
}

// The one field beside `type` that a kept value has.
function chosen(kept) {
  return Object.entries(kept ?? {}).find(([name]) => name !== "type")?.[1];
}

function length(value, { min_length: least = 0, max_length: most = Infinity }) {
  if (value.length < least) return `Enter at least ${least} characters.`;
  return value.length > most ? `Enter at most ${most} characters.` : null;
}

function number(value, { is_decimal_allowed: decimal, min_value: least, max_value: most }) {
  if (!(decimal ? /^-?\d+(?:\.\d+)?$/ : /^-?\d+$/).test(value))
    return decimal ? "Enter a number." : "Enter a whole number.";
  if (least !== undefined && Number(value) < Number(least)) return `Enter ${least} or more.`;
  return most !== undefined && Number(value) > Number(most) ? `Enter ${most} or less.` : null;
}
