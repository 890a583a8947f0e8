// Permalinks of this workspace: /archives/C…/p1700000000000100?thread_ts=1700000000.000100, opened inside the page.

const PATH = /^\/archives\/([A-Z0-9]+)(?:\/p(\d{10})(\d{6}))?\/?$/;
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** {channel, ts, threadTs} of a permalink into this workspace ("" for what it lacks), or null for any other address. */
export function parsePermalink(address, base = location) {
  const url = new URL(address);
  const here =
    url.host === base.host || (LOOPBACK.has(url.hostname) && LOOPBACK.has(base.hostname) && url.port === base.port);
  const match = here ? PATH.exec(url.pathname) : null;
  if (!match) return null;
  const [, channel, seconds, fraction] = match;
  return { channel, ts: seconds ? `${seconds}.${fraction}` : "", threadTs: url.searchParams.get("thread_ts") ?? "" };
}

/** The permalink of a message of this workspace. */
export function permalink(channel, ts, threadTs) {
  const url = new URL(`/archives/${channel}/p${ts.replace(".", "")}`, location.origin);
  if (threadTs && threadTs !== ts) {
    url.searchParams.set("thread_ts", threadTs);
    url.searchParams.set("cid", channel);
  }
  return url.href;
}
