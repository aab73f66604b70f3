// SPDX-License-Identifier: AGPL-3.0-or-later
// Rules in words, for people who do not read JSON. Pure.
import { durationWords } from "./durations.js";
import { readMatch } from "./match-form.js";
import { scheduleWords } from "./schedule-words.js";

/** Operators as they stand between a key and its value; by the family of the key where that reads better. */
const OPERATORS = {
  Equals: "is", In: "is one of", NotEquals: "is not", NotIn: "is none of",
  Contains: "contains", NotContains: "does not contain", StartsWith: "starts with", EndsWith: "ends with",
  Wildcard: "is like (* ?)", Regex: "fits the regular expression",
  Lt: "is less than", Le: "is at most", Gt: "is more than", Ge: "is at least", Between: "is between",
  Exists: "is there", NewerThan: "is newer than", OlderThan: "is older than",
};
const OF_TIMES = { Lt: "is before", Le: "is not after", Gt: "is after", Ge: "is not before" };
const TIMES = ["date", "time", "moment"];
export const ALL_OPERATORS = Object.keys(OPERATORS);

export const operatorWords = (operator, family = "") => (TIMES.includes(family) && OF_TIMES[operator]) || (OPERATORS[operator] ?? operator);

export const GROUP_WORDS = { All: "all of these", Any: "at least one of these", None: "none of these" };
export const TRIGGER_WORDS = { StableStudy: "a study", StableSeries: "a series", StablePatient: "a patient", NewInstance: "each new instance" };

/** {when, what, how}: what is looked at, where it goes, and what is special, each a sentence without its full stop. */
export function ruleWords(rule) {
  const root = readMatch(rule.Match ?? {});
  const trigger = TRIGGER_WORDS[rule.Trigger ?? "StableStudy"] ?? rule.Trigger;
  const when = root === null ? `${trigger}, by conditions that are told as JSON` : root.items.length ? `${trigger} where ${itemsWords(root.items, "and")}` : every(trigger);
  return { when: capital(when), what: [rule.Send ?? []].flat().map(sendWords).join(" and "), how: special(rule) };
}

const every = (trigger) => (trigger.startsWith("each") ? trigger : trigger.replace(/^a /, "every "));
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function itemsWords(items, joint) {
  return items.map((item) => (item.kind === "group" ? groupWords(item) : conditionWords(item))).join(` ${joint} `);
}

function groupWords({ type, items }) {
  if (!items.length) return type === "Any" ? "nothing" : "anything";
  if (type === "None") return `not (${itemsWords(items, "or")})`;
  const told = itemsWords(items, type === "Any" ? "or" : "and");
  return items.length === 1 ? told : `(${told})`;
}

export function conditionWords({ key, operator, operand, of, ignoreCase }) {
  const every = of === "All" ? "every " : "";
  if (operator === "Exists") return `${every}${key} is ${operand === false ? "missing" : "there"}`;
  const words = operator === "Wildcard" ? "is like" : operatorWords(operator);
  const values = [operand].flat().map((value) => quoted(value, operator));
  const joint = operator === "Between" ? " and " : " or ";
  return `${every}${key} ${["In", "Equals"].includes(operator) ? "is" : words} ${values.join(joint)}${ignoreCase ? " in any case" : ""}`;
}

function quoted(value, operator) {
  if (operator === "NewerThan" || operator === "OlderThan") return durationWords(value);
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "string" && /[^\w.-]/.test(value) ? `“${value}”` : String(value);
}

export function sendWords(entry) {
  if (typeof entry === "string") return entry;
  if (entry?.FirstOf) return [entry.FirstOf].flat().join(", else ");
  if (entry?.OneOf) return `one of ${[entry.OneOf].flat().join(", ")}${entry.By ? " (a patient stays with one)" : ""}`;
  return entry?.To ?? JSON.stringify(entry);
}

const isSaid = (mapping) => Object.keys(mapping ?? {}).length > 0;

/** What the router calls an entry of Send, "FirstOf PACS1, PACS2", as `sendWords` says it. */
export function labelWords(label) {
  const [, choice, names] = /^(FirstOf|OneOf) (.*)$/.exec(label) ?? [];
  return choice ? sendWords({ [choice]: names.split(", ") }) : label;
}

function special(rule) {
  const words = [
    scheduleWords(rule.Schedule),
    rule.Delay && rule.Delay !== "0s" && `after ${durationWords(rule.Delay)}`,
    rule.Priority && rule.Priority !== "Normal" && (rule.Priority === "Urgent" ? "urgent" : "low priority"),
    isSaid(rule.Instances) && "only some instances",
    isSaid(rule.Modify) && "modified copies",
    isSaid(rule.Anonymize) && "anonymized copies",
    isSaid(rule.Process) && "the results of a computation",
    rule.DeleteAfterSend && "deleted here afterwards",
    rule.Stop && "later rules are not looked at",
  ];
  return words.filter(Boolean).join(" · ");
}
