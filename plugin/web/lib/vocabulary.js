// SPDX-License-Identifier: AGPL-3.0-or-later
// What the router says can be asked for in a rule. Each key is asked for once.
import { signal } from "@preact/signals";
import { get } from "./api.js";
import { isSuspended } from "./status.js";

/** key -> its description of /router/rules-keys, or null where it names nothing. */
const terms = signal(new Map());
const asked = new Set();

/** What the router knows of a key: undefined until it has answered, null for a key that names nothing. */
export function termOf(key) {
  if (key && !asked.has(key)) ask(key);
  return terms.value.get(key);
}

async function ask(key) {
  asked.add(key);
  try {
    const found = await get("rules-keys", { q: key, limit: 5 });
    remember(found.filter((each) => each.Key === key || each.Tag === key));
    if (!terms.value.has(key)) terms.value = new Map(terms.value).set(key, found.find((each) => each.Tag === key) ?? null);
  } catch {
    asked.delete(key); // once more at the next chance
  }
}

function remember(found) {
  const known = new Map(terms.value);
  for (const each of found) {
    asked.add(each.Key);
    known.set(each.Key, each);
  }
  terms.value = known;
}

/** Keys that hold the words of a text, as options of a combobox. */
export async function findKeys(text, signal) {
  const found = await get("rules-keys", { q: text, limit: 40 }, { signal });
  remember(found);
  return found.map((each) => ({ value: each.Key, text: each.Key, detail: detailOf(each) }));
}

function detailOf({ Key, Name, Tag, VR, Kind }) {
  const name = Name.replaceAll(" ", "") === Key ? "" : Name;
  return [name, Kind === "Tag" ? `(${Tag}) ${VR}` : "not a tag"].filter(Boolean).join(" · ");
}

const seen = new Map(); // key -> {at, promise}
const KEPT_MILLISECONDS = 60_000;

/** The values of a key in the last studies (few values are told even if unseen), as options; those that hold the text. */
export async function findValues(key, text) {
  if (!key || termOf(key) === null || isSuspended()) return [];
  const known = seen.get(key);
  if (!known || Date.now() - known.at > KEPT_MILLISECONDS) seen.set(key, { at: Date.now(), promise: get("rules-values", { key }) });
  let told = { Values: [], Studies: 0 };
  try {
    told = await seen.get(key).promise;
  } catch {
    seen.delete(key); // a key that names nothing, or routing is suspended: then nothing is suggested
  }
  const found = told.Values.map(({ Value, Studies }) => ({ value: Value, text: Value, detail: `in ${Studies} of the last ${told.Studies} studies` }));
  const others = (terms.value.get(key)?.Values ?? []).filter((value) => !told.Values.some((each) => each.Value === value));
  const all = [...found, ...others.map((value) => ({ value, text: value, detail: "" }))];
  const wanted = text.toLowerCase();
  return all.filter((each) => each.text.toLowerCase().includes(wanted));
}

/** [{Name, Kind, Configured}], asked for once a page. */
export const destinations = signal([]);

export async function loadDestinations() {
  destinations.value = await get("rules-destinations");
}
