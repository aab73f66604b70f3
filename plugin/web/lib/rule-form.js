// SPDX-License-Identifier: AGPL-3.0-or-later
// A rule as a form and back to JSON. What the form cannot show is kept as it is. Pure.
//
// {fields, order, match, instances, send, tests}: `fields` are the keys that are no list or match; of the others each is
// {form} or, where the form cannot show it, {json}.
import { equal } from "./equal.js";
import { identity, newGroup, readMatch, writeMatch } from "./match-form.js";

/** What a key means that is not there (docs/configuration.md). */
export const DEFAULTS = {
  Description: "", Enabled: true, Trigger: "StableStudy", Level: "", Sample: "", Schedule: "", Delay: "", Priority: "", DeleteAfterSend: false, Stop: false,
};
const ORDER = ["Name", "Description", "Enabled", "Trigger", "Level", "Match", "Sample", "Instances", "Send", "Schedule", "Delay", "Priority", "DeleteAfterSend", "Stop", "Tests"];
const PARTS = ["Match", "Instances", "Send", "Tests"];
const CHOICES = ["To", "FirstOf", "OneOf"];
const KNOWN = ["Origin", "Version", "Warnings"]; // what REST adds to a rule

/** The rule as it was written, out of an answer of REST. */
export const sourceOf = (answer) => Object.fromEntries(Object.entries(answer).filter(([name]) => !KNOWN.includes(name)));

export const emptyRule = () => ({ Name: "", Match: {}, Send: [] });

// Reading

export function readRule(rule) {
  const match = readMatch(rule.Match ?? {});
  const instances = readMatch(rule.Instances ?? {});
  return {
    order: Object.keys(rule),
    fields: Object.fromEntries(Object.entries(rule).filter(([name]) => !PARTS.includes(name))),
    match: match ? { form: match } : { json: rule.Match },
    instances: instances ? { form: instances } : { json: rule.Instances },
    send: readList(rule.Send ?? [], readSend, writeSend),
    tests: readList(rule.Tests ?? [], readTest, writeTest),
  };
}

/** Each entry as {id, …}, or {id, json} where the form cannot show it; {json} where it is no list. */
function readList(list, read, write) {
  if (!Array.isArray(list)) return { json: list };
  const entry = (json) => {
    const made = read(json);
    return made && equal(write(made), json) ? made : { id: identity(), json };
  };
  return { form: list.map(entry) };
}

function readSend(entry) {
  if (typeof entry === "string") return newSend([entry]);
  if (!isMapping(entry)) return null;
  const said = CHOICES.filter((choice) => choice in entry);
  if (said.length !== 1) return null;
  const [choice] = said;
  const { [choice]: named, After, By, AndWhenBack, ...options } = entry;
  const members = choice === "To" ? [named] : named;
  if (!Array.isArray(members) || !members.every((name) => typeof name === "string")) return null;
  return newSend(members, { choice, short: false, after: After, by: By, andWhenBack: AndWhenBack, options });
}

export const newSend = (members, more = {}) => ({ id: identity(), choice: "To", members, short: true, options: {}, ...more });

function readTest(entry) {
  if (!isMapping(entry) || !isMapping(entry.Given) || typeof entry.Expect !== "boolean") return null;
  if (Object.keys(entry).length !== 2) return null;
  const given = Object.entries(entry.Given).map(([key, value]) => ({ id: identity(), key, values: [value].flat(), list: Array.isArray(value) }));
  const scalar = (value) => ["string", "number"].includes(typeof value);
  return given.every((each) => each.values.every(scalar)) ? { id: identity(), given, expect: entry.Expect } : null;
}

export const newTest = () => ({ id: identity(), given: [newGiven()], expect: true });
export const newGiven = () => ({ id: identity(), key: "", values: [], list: false });

// Writing

/** {rule, places}: the rule, and where in it each part of the form stands: [[path, id or name], …]. */
export function writeRule(form) {
  const made = { ...form.fields };
  const places = Object.keys({ ...DEFAULTS, ...form.fields, Name: "", Send: "", Tests: "" }).map((name) => [name, name]);
  for (const [name, part] of [["Match", form.match], ["Instances", form.instances]]) {
    const { json, places: own } = part.form ? writeMatch(part.form, name) : { json: part.json, places: [[name, name]] };
    places.push(...own);
    if (form.order.includes(name) || Object.keys(json).length) made[name] = json;
  }
  for (const [name, part, write] of [["Send", form.send, writeSend], ["Tests", form.tests, writeTest]]) {
    const json = part.form ? part.form.map((entry) => ("json" in entry ? entry.json : write(entry))) : part.json;
    if (form.order.includes(name) || json.length) made[name] = json;
    part.form?.forEach((entry, index) => places.push([`${name}[${index}]`, entry.id], ...membersOf(entry, `${name}[${index}]`)));
  }
  return { rule: ordered(made, form.order), places };
}

function writeSend({ choice, members, short, after, by, andWhenBack, options }) {
  if (choice === "To" && short && !Object.keys(options).length) return members[0] ?? "";
  const json = { [choice]: choice === "To" ? (members[0] ?? "") : members, ...options };
  if (after !== undefined) json.After = after;
  if (by !== undefined) json.By = by;
  if (andWhenBack !== undefined) json.AndWhenBack = andWhenBack;
  return json;
}

function writeTest({ given, expect }) {
  const named = given.filter((each) => each.key);
  const value = (each) => (each.list || each.values.length > 1 ? each.values : (each.values[0] ?? ""));
  return { Given: Object.fromEntries(named.map((each) => [each.key, value(each)])), Expect: expect };
}

function membersOf({ id, choice, members }, at) {
  if (!members) return [];
  return members.map((_, index) => [choice === "To" ? `${at}.To` : `${at}.${choice}[${index}]`, `${id}.${index}`]);
}

function ordered(made, order) {
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  const fresh = Object.keys(made).filter((name) => !order.includes(name)).sort((one, other) => rank(one) - rank(other));
  const names = order.filter((name) => name in made);
  for (const name of fresh) {
    // Behind the last of those that usually stand before it.
    const at = names.findLastIndex((each) => rank(each) < rank(name));
    names.splice(at + 1, 0, name);
  }
  return Object.fromEntries(names.map((name) => [name, made[name]]));
}

/** The form with another value of a field; the default is not written unless it stood there. */
export function withField(form, name, value) {
  const { [name]: _, ...others } = form.fields;
  const plain = value === DEFAULTS[name] && typeof DEFAULTS[name] !== "boolean";
  if (plain || (value === DEFAULTS[name] && !form.order.includes(name))) return { ...form, fields: others };
  return { ...form, fields: { ...others, [name]: value } };
}

export const fieldOf = (form, name) => form.fields[name] ?? DEFAULTS[name];

/** An empty tree, for a match that the form could not show and that is begun anew. */
export const emptyMatch = () => ({ form: newGroup("All") });

// Problems of the router, at their fields

/**
 * {byPlace, left}: the problems of REST by the part of the form that each is about, and those that are about none.
 * A path is "Rule.Match.StudyDate.Between", or below "Rules[0]".
 */
export function placeProblems(problems, places) {
  const byPlace = new Map();
  const left = [];
  for (const problem of problems) {
    const path = problem.Path.replace(/^(Rule|Rules\[\d+\])(\.|$)/, "");
    const place = longestPrefix(path, places);
    if (place === undefined) left.push(problem);
    else byPlace.set(place, [...(byPlace.get(place) ?? []), problem.Message]);
  }
  return { byPlace, left };
}

function longestPrefix(path, places) {
  let best, longest = -1;
  for (const [at, place] of places) {
    const fits = at && (path === at || (path.startsWith(at) && ".[".includes(path[at.length])));
    if (fits && at.length > longest) [best, longest] = [place, at.length];
  }
  return best;
}

const isMapping = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
