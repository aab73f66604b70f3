// SPDX-License-Identifier: AGPL-3.0-or-later
// Times as people read them: in the viewer's zone, UTC on hover.

const DAY = 86_400_000;
const WHOLE = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DATE_CLOCK = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** The whole time in the viewer's zone. */
export const whole = (iso) => WHOLE.format(new Date(iso));

/** As short as is clear: the clock today, else with the date. */
export function short(iso, now = Date.now()) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date(now).toDateString();
  if (today) return CLOCK.format(at);
  return Math.abs(now - at) < 300 * DAY ? DATE_CLOCK.format(at) : WHOLE.format(at);
}

/** "3 minutes ago", "in 2 hours". */
export function relative(iso, now = Date.now()) {
  const seconds = (new Date(iso) - now) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 5 ? "just now" : RELATIVE.format(Math.round(seconds), "second");
}

/** "2 h 5 min", for a number of seconds. */
export function duration(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** UTC, as REST says it. */
export const utc = (iso) => `${new Date(iso).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** A DICOM date (DA, 20261122) as 2026-11-22. */
export const dicomDate = (text) => (/^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : text);
