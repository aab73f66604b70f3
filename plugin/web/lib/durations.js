// SPDX-License-Identifier: AGPL-3.0-or-later
// Durations of the configuration: a number and a unit, "15m". Pure.

export const UNITS = [["s", "seconds", "second"], ["m", "minutes", "minute"], ["h", "hours", "hour"], ["d", "days", "day"]];

/** [15, "m"], or null for what the form has no fields for. */
export function readDuration(text) {
  const found = /^(\d+(?:\.\d+)?)(s|m|h|d)$/.exec(text ?? "");
  return found && [Number(found[1]), found[2]];
}

/** "15 minutes", or the text itself. */
export function durationWords(text) {
  const read = readDuration(text);
  if (!read) return String(text);
  const [, many, one] = UNITS.find(([unit]) => unit === read[1]);
  return `${read[0]} ${read[0] === 1 ? one : many}`;
}
