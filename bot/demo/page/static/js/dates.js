// Times as Slack shows them: in the reader's own zone and language.
import { h } from "./dom.js";

const format = (options) => new Intl.DateTimeFormat(undefined, options);
const TIME = format({ hour: "numeric", minute: "2-digit" });
const TIME_SECONDS = format({ hour: "numeric", minute: "2-digit", second: "2-digit" });
const DATE = format({ month: "long", day: "numeric", year: "numeric" });
const DATE_SHORT = format({ month: "short", day: "numeric", year: "numeric" });
const DATE_LONG = format({ weekday: "long", month: "long", day: "numeric", year: "numeric" });
const DATE_SLASH = format({ month: "2-digit", day: "2-digit", year: "numeric" });
const DAY = format({ weekday: "long", month: "long", day: "numeric" });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const UNITS = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86400, "hour", 3600],
  [2592000, "day", 86400],
  [31536000, "month", 2592000],
  [Infinity, "year", 31536000],
];
const RELATIVE_DAYS = { "-1": "yesterday", 0: "today", 1: "tomorrow" };

const startOfDay = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
const daysFromNow = (date) => Math.round((startOfDay(date) - startOfDay(new Date())) / 86_400_000);

/** A Slack `ts` ("1700000000.000100") as a Date. */
export function dateOf(ts) {
  return new Date(Number(ts) * 1000);
}

/** The time of day without "AM" or "PM", for narrow places. */
export const shortClock = (ts) =>
  TIME.formatToParts(dateOf(ts))
    .filter(({ type }) => type !== "dayPeriod")
    .map(({ value }) => value)
    .join("")
    .trim();
export const clock = (ts) => TIME.format(dateOf(ts));
export const fullTime = (ts) => `${DATE_LONG.format(dateOf(ts))}, ${TIME_SECONDS.format(dateOf(ts))}`;

/** "3 minutes ago", counted from now. */
export function ago(seconds, now = Date.now()) {
  const difference = Math.round(seconds - now / 1000);
  const [, unit, size] = UNITS.find(([limit]) => Math.abs(difference) < limit);
  return RELATIVE.format(Math.trunc(difference / size), unit);
}

/** "Today", "Yesterday" or "Monday, November 23", for the divider between days. */
export function dayTitle(ts) {
  const word = RELATIVE_DAYS[daysFromNow(dateOf(ts))];
  return word && word !== "tomorrow" ? word[0].toUpperCase() + word.slice(1) : DAY.format(dateOf(ts));
}

function pretty(date, plain, capital) {
  const word = RELATIVE_DAYS[daysFromNow(date)];
  if (!word) return plain.format(date);
  return capital ? word[0].toUpperCase() + word.slice(1) : word;
}

const TOKENS = {
  date_num: (date) =>
    [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((n) => String(n).padStart(2, "0")).join("-"),
  date_slash: (date) => DATE_SLASH.format(date),
  date: (date) => DATE.format(date),
  date_short: (date) => DATE_SHORT.format(date),
  date_long: (date) => DATE_LONG.format(date),
  date_long_full: (date) => DATE_LONG.format(date),
  date_pretty: (date, first) => pretty(date, DATE, first),
  date_short_pretty: (date, first) => pretty(date, DATE_SHORT, first),
  date_long_pretty: (date, first) => pretty(date, DATE_LONG, first),
  day_divider_pretty: (date, first) => pretty(date, DAY, first),
  time: (date) => TIME.format(date),
  time_secs: (date) => TIME_SECONDS.format(date),
  ago: (date) => ago(date.getTime() / 1000),
};

/** The text of `<!date^seconds^format|fallback>`; the fallback when the time or a token is not one of Slack's. */
export function slackDate(seconds, pattern, fallback) {
  const date = new Date(seconds * 1000);
  if (!Number.isFinite(seconds) || Number.isNaN(date.getTime())) return fallback;
  let known = true;
  const text = pattern.replace(/\{(\w+)\}/g, (_, name, offset) => {
    if (!Object.hasOwn(TOKENS, name)) {
      known = false;
      return "";
    }
    return TOKENS[name](date, offset === 0);
  });
  return known ? text : fallback;
}

/** A <time> with the date in the reader's zone; "{ago}" goes on counting while it is on the page. */
export function dateNode(seconds, pattern, fallback) {
  const text = slackDate(seconds, pattern, fallback);
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return document.createTextNode(fallback);
  const node = h("time", { datetime: date.toISOString(), title: fullTime(seconds), class: "date" }, text);
  if (pattern.includes("{ago}")) Object.assign(node.dataset, { seconds, pattern, fallback });
  return node;
}

/** Refreshes every running "{ago}" under `root`. */
export function refreshAgo(root = document) {
  for (const node of root.querySelectorAll("time[data-pattern]")) {
    const text = slackDate(Number(node.dataset.seconds), node.dataset.pattern, node.dataset.fallback);
    if (node.textContent !== text) node.textContent = text;
  }
}
