// The page's API: JSON in and out. A refusal or a lost connection is an ApiError with a sentence for the reader.
import { store } from "./store.js";

export class ApiError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const SENTENCES = {
  unreachable: "The workspace does not answer. Is the demo still running?",
  app_did_not_respond: "The app did not respond.",
  message_not_found: "That message is gone.",
  view_not_found: "That dialog is closed already.",
};

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError("unreachable", SENTENCES.unreachable);
  }
  const body = await response.json().catch(() => null);
  if (body === null)
    throw new ApiError(`http_${response.status}`, `The workspace answered with HTTP ${response.status}.`);
  if (body.ok === false && !body.errors) throw new ApiError(body.error, sentence(body));
  return body;
}

const sentence = ({ error, detail }) =>
  SENTENCES[error] ?? `The workspace refused this: ${error}${detail ? ` (${detail})` : ""}`;

const get = (path, parameters) => call(`/page/api/${path}?${new URLSearchParams(parameters)}`);
const post = (path, body) =>
  call(`/page/api/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
const asMe = (body) => ({ user: store.me, ...body });

export const api = {
  state: (user) => get("state", { user }),
  history: (channel, before) => get("history", asMe({ channel, ...(before ? { before } : {}) })),
  replies: (channel, ts) => get("replies", asMe({ channel, ts })),
  message: (channel, text, threadTs) =>
    post("message", asMe({ channel, text, ...(threadTs ? { thread_ts: threadTs } : {}) })),
  action: (body) => post("action", asMe(body)),
  viewSubmit: (viewId, values) => post("view_submit", asMe({ view_id: viewId, state: { values } })),
  viewClose: (viewId) => post("view_close", asMe({ view_id: viewId })),
  suggestion: (body) => post("suggestion", asMe(body)),
  shortcut: (body) => post("shortcut", asMe(body)),
  homeOpen: () => post("home_open", asMe({})),
  hosts: () => get("hosts", {}),
  panic: (body) => post("hosts/panic", body),
  faults: () => get("control", {}),
  control: (body) => post("control", body),
};

/** The address of a private file, opened as the present user. */
export function fileAddress(file) {
  const url = new URL(file.url_private_download ?? file.url_private ?? "", location.origin);
  const own = new URL(url.pathname, location.origin);
  own.searchParams.set("user", store.me);
  return own.href;
}
