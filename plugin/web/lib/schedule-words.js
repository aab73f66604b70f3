// SPDX-License-Identifier: AGPL-3.0-or-later
// A schedule in words (docs/rules.md, "Schedules"). Pure.
import { durationWords } from "./durations.js";

const DAYS = { mon: "Monday", tue: "Tuesday", wed: "Wednesday", thu: "Thursday", fri: "Friday", sat: "Saturday", sun: "Sunday" };
const PIECE = /^(?:([A-Za-z]+)(?:\s*-\s*([A-Za-z]+))?(?:\s+|$))?(?:(\d{1,2}:\d{2})\s*-\s*(\d{1,2}:\d{2}))?$/;
const EVERY_DAY = "Every day";

/** A sentence, "" for none, or null for what cannot be told in words. */
export function scheduleWords(schedule) {
  if (schedule === undefined || schedule === null || schedule === "") return "";
  if (typeof schedule === "string") return minutesOf(schedule) ?? windowsOf(schedule);
  return typeof schedule === "object" && schedule.Cron && schedule.For ? cronWords(schedule) : null;
}

function minutesOf(text) {
  const found = /^\s*m(\d+)\s*<\s*(\d+)\s*$/.exec(text);
  if (!found) return null;
  const [every, first] = [Number(found[1]), Number(found[2])];
  return `The first ${first === 1 ? "minute" : `${first} minutes`} of every ${every === 60 ? "hour" : `${every} minutes`}`;
}

function windowsOf(text) {
  const told = []; // [days, [windows]]
  let days = null, open = false;
  for (const piece of text.split(",")) {
    const found = PIECE.exec(piece.trim());
    if (!found || !piece.trim()) return null;
    const [, first, lastDay, from, to] = found;
    if (first) {
      const named = daysOf(first, lastDay);
      if (!named) return null;
      days = open ? [...days, named] : [named]; // days one after another add up until a window comes
      open = true;
    }
    if (!from) continue;
    const name = days ? listed(days) : EVERY_DAY;
    const before = told.at(-1);
    if (before?.[0] === name) before[1].push(windowOf(from, to));
    else told.push([name, [windowOf(from, to)]]);
    open = false;
  }
  return open || !told.length ? null : told.map(([name, windows]) => `${name} ${listed(windows)}`).join("; ");
}

function daysOf(first, lastDay) {
  const name = (text) => DAYS[text.slice(0, 3).toLowerCase()];
  if (!name(first) || (lastDay && !name(lastDay))) return null;
  return lastDay ? `${name(first)} to ${name(lastDay)}` : name(first);
}

function windowOf(from, to) {
  const [start, end] = [minutes(from), minutes(to)];
  if (start === 0 && end === 1440) return "all day";
  return end <= start && end !== 0 ? `from ${from} to ${to} the next day` : `from ${from} to ${to === "24:00" || to === "00:00" ? "midnight" : to}`;
}

const minutes = (text) => Number(text.split(":")[0]) * 60 + Number(text.split(":")[1]);

function cronWords({ Cron, For }) {
  return `${cronTime(Cron)}, for ${durationWords(For)}`;
}

function cronTime(text) {
  const found = /^(\d{1,2}) (\d{1,2}) \* \* (\*|[0-7](?:-[0-7])?)$/.exec(text.trim());
  if (!found) return `At each tick of the cron expression ${text}`;
  const at = `${found[2].padStart(2, "0")}:${found[1].padStart(2, "0")}`;
  if (found[3] === "*") return `Every day at ${at}`;
  const names = Object.values(DAYS);
  const day = (number) => names[(Number(number) + 6) % 7];
  const [first, lastDay] = found[3].split("-");
  return `${lastDay ? `${day(first)} to ${day(lastDay)}` : day(first)} at ${at}`;
}

function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
