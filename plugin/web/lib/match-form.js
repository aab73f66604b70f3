// SPDX-License-Identifier: AGPL-3.0-or-later
// `Match` and `Instances` as a form: a tree of conditions and groups, and back to JSON. Pure.
//
// A condition is {id, kind: "condition", key, operator, operand, ignoreCase, of, short}; `short` is the syntax without an
// operator, {"Modality": "CT"}. A group is {id, kind: "group", type: "All" | "Any" | "None", items, explicit}; the root is
// an "All", and so is a branch with several entries. `explicit`: the branch is written as {"All": […]}.
import { equal } from "./equal.js";

export const GROUPS = ["All", "Any", "None"];
const MODIFIERS = { IgnoreCase: "ignoreCase", Of: "of" };

let last = 0;
/** An identity for a part of a form, which it keeps while it is edited. */
export const identity = () => `part-${(last += 1)}`;

export const newCondition = (values = {}) => ({
  id: identity(), kind: "condition", key: "", operator: "Equals", operand: "", ignoreCase: undefined, of: undefined, short: true, ...values,
});
export const newGroup = (type, items = [], explicit = false) => ({ id: identity(), kind: "group", type, items, explicit });

// Reading

/** The root group of a match, or null for one that the form cannot show without losing something. */
export function readMatch(match) {
  try {
    const root = newGroup("All", itemsOf(match));
    return equal(writeMatch(root, "").json, match) ? root : null;
  } catch (error) {
    if (error instanceof Unreadable) return null;
    throw error;
  }
}

class Unreadable extends Error {}

function itemsOf(mapping) {
  if (typeof mapping !== "object" || mapping === null || Array.isArray(mapping)) throw new Unreadable();
  return Object.entries(mapping).flatMap(([name, value]) => (GROUPS.includes(name) ? [groupOf(name, value)] : conditionsOf(name, value)));
}

function groupOf(type, list) {
  if (!Array.isArray(list)) throw new Unreadable();
  return newGroup(type, list.map(branchOf), true);
}

function branchOf(mapping) {
  const items = itemsOf(mapping);
  return items.length === 1 ? items[0] : newGroup("All", items);
}

function conditionsOf(key, value) {
  if (Array.isArray(value)) return [newCondition({ key, operator: "In", operand: value })];
  if (typeof value !== "object" || value === null) return [newCondition({ key, operand: value })];
  const operators = Object.keys(value).filter((name) => !(name in MODIFIERS));
  if (!operators.length) throw new Unreadable();
  const modifiers = Object.fromEntries(Object.entries(MODIFIERS).map(([name, own]) => [own, value[name]]));
  return operators.map((operator) => newCondition({ key, operator, operand: value[operator], short: false, ...modifiers }));
}

// Writing

/**
 * {json, places}: the match, and where in it each part of the form stands: [[path, id], …], paths as the router tells
 * them. A condition without a key is left out. What cannot stand beside its like (a second "Contains" of the same key)
 * goes into "All".
 */
export function writeMatch(root, at = "Match") {
  const places = [[at, root.id]];
  return { json: mappingOf(root.items, at, places), places };
}

function mappingOf(items, at, places) {
  const below = (name) => (at ? `${at}.${name}` : name);
  const slots = new Map(); // name -> the group, or the conditions that share one object
  const rest = [];
  for (const item of items) {
    if (item.kind === "group") {
      if (slots.has(item.type)) rest.push(item);
      else slots.set(item.type, item);
    } else if (item.key) {
      const mates = slots.get(item.key) ?? [];
      if (mates.every((mate) => getsOn(mate, item))) slots.set(item.key, [...mates, item]);
      else rest.push(item);
    }
  }
  const json = {};
  for (const [name, slot] of slots) {
    json[name] = Array.isArray(slot) ? entryOf(slot, below(name), places) : listOf(slot, below(name), places);
  }
  if (rest.length) {
    const own = json.All ?? [];
    json.All = [...own, ...rest.map((item, index) => branchJson(item, `${below("All")}[${own.length + index}]`, places))];
  }
  return json;
}

const getsOn = (one, other) => one.operator !== other.operator && one.ignoreCase === other.ignoreCase && one.of === other.of;

function entryOf(conditions, at, places) {
  const [first] = conditions;
  const plain = conditions.length === 1 && first.short && first.ignoreCase === undefined && first.of === undefined;
  if (plain && ["Equals", "In"].includes(first.operator)) {
    places.push([at, first.id]);
    return first.operand;
  }
  const json = {};
  for (const each of conditions) {
    places.push([`${at}.${each.operator}`, each.id]);
    json[each.operator] = each.operand;
  }
  places.push([at, first.id]);
  for (const [name, own] of Object.entries(MODIFIERS)) if (first[own] !== undefined) json[name] = first[own];
  return json;
}

function listOf(group, at, places) {
  places.push([at, group.id]);
  const kept = group.items.filter((item) => !isBlank(item));
  return kept.map((item, index) => branchJson(item, `${at}[${index}]`, places));
}

/** A condition without a key yet, or a branch of nothing else: it says nothing so far. */
function isBlank(item) {
  if (item.kind === "condition") return !item.key;
  return item.type === "All" && !item.explicit && item.items.length > 0 && item.items.every(isBlank);
}

function branchJson(item, at, places) {
  if (item.kind === "group" && item.type === "All" && !item.explicit) {
    places.push([at, item.id]);
    return mappingOf(item.items, at, places);
  }
  return mappingOf([item], at, places);
}

// Changing

/** The tree with the part `id` replaced by `change(part)`; null takes it out. */
export function changePart(root, id, change) {
  if (root.id === id) return change(root);
  if (root.kind !== "group") return root;
  const items = root.items.map((item) => changePart(item, id, change)).filter((item) => item !== null);
  return items.length === root.items.length && items.every((item, index) => item === root.items[index]) ? root : { ...root, items };
}

const SHAPES = { In: "list", NotIn: "list", Between: "pair", Exists: "flag" };
/** What the operand of an operator looks like: "one" value, a "list", a "pair", or a "flag". */
export const shapeOf = (operator) => SHAPES[operator] ?? "one";

/** The condition with another operator; of the operand what fits is kept. */
export function withOperator(condition, operator) {
  const values = [condition.operand].flat().filter((value) => typeof value !== "boolean");
  const made = {
    one: () => values[0] ?? "",
    list: () => values.filter((value) => value !== ""),
    pair: () => [values[0] ?? "", values[1] ?? ""],
    flag: () => true,
  };
  const shape = shapeOf(operator);
  const operand = shape === shapeOf(condition.operator) && shape !== "flag" ? condition.operand : made[shape]();
  return { ...condition, operator, operand };
}

/** Whether the form can show the operand for its operator; else it is shown as JSON. */
export function isShowable({ operator, operand }) {
  const scalar = (value) => ["string", "number"].includes(typeof value);
  return {
    one: () => scalar(operand) || operand === null,
    list: () => Array.isArray(operand) && operand.every(scalar),
    pair: () => Array.isArray(operand) && operand.length === 2 && operand.every(scalar),
    flag: () => typeof operand === "boolean",
  }[shapeOf(operator)]();
}
