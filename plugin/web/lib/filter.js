// SPDX-License-Identifier: AGPL-3.0-or-later
// The filter of the history: in the address, in the query of REST, and in the body of bulk changes.
import { plural } from "./words.js";

/** The names that the address and REST have in common. */
export const FILTERS = ["status", "rule", "destination", "study", "patient", "accession", "from", "to", "q"];
export const STATUSES = ["Scheduled", "Sending", "Retrying", "Completed", "Warning", "Failed", "Canceled"];
export const ENDED = new Set(["Completed", "Warning", "Failed", "Canceled"]);
export const WAITS = new Set(["Scheduled", "Retrying"]);

const MOST_COUNTED = 10_000; // as the router does
const BODY_NAMES = { q: "Q" };

/** Only what filters, of the address. */
export function filterOf(query) {
  return Object.fromEntries(FILTERS.filter((name) => query[name]).map((name) => [name, query[name]]));
}

/** As the body of history-resend and history-cancel has it: {"Status": "Failed"}. */
export function bodyOf(filter) {
  return Object.fromEntries(
    Object.entries(filter).map(([name, value]) => [BODY_NAMES[name] ?? name[0].toUpperCase() + name.slice(1), value]),
  );
}

/** A filter in words: "status Failed, destination ARCHIVE". */
export function inWords(filter) {
  const names = { q: "text", from: "from", to: "until" };
  return Object.entries(filter).map(([name, value]) => `${names[name] ?? name} ${value.replaceAll(",", " or ")}`).join(", ");
}

/** How many deliveries; what is searched by a part of a text is counted to MOST_COUNTED only. */
export function countInWords(count, filter) {
  const counted = plural(count, "delivery", "deliveries");
  return count === MOST_COUNTED && (filter.q || filter.patient) ? `${counted} or more` : counted;
}

/** A time of the address (UTC) as a datetime-local field has it, and back. */
export function toLocal(iso) {
  const at = new Date(iso);
  if (!iso || Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
export const toUtc = (local) => (local ? `${new Date(local).toISOString().slice(0, 19)}Z` : "");
