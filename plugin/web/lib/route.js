// SPDX-License-Identifier: AGPL-3.0-or-later
// The address of the page: #/history?status=Failed. What is shown can be shared by its link.
import { signal } from "@preact/signals";

/** {path: "/history", parts: ["history"], query: {status: "Failed"}} */
export const route = signal(read());

addEventListener("hashchange", () => (route.value = read()));

/** The link to a page; `query` without what is empty. Values of `parts` are encoded: href(["deliveries", 7]). */
export function href(parts, query = {}) {
  const where = [].concat(parts).map((part) => encodeURIComponent(part)).join("/");
  const search = searchOf(query);
  return `#/${where}${search ? `?${search}` : ""}`;
}

/** Go to a page. `replace`: without a step in the browser's history, for typing into a filter. */
export function navigate(parts, query = {}, { replace = false } = {}) {
  const target = href(parts, query);
  if (target === (location.hash || "#/")) return;
  if (!replace) {
    location.hash = target;
    return;
  }
  history.replaceState(null, "", target);
  route.value = read();
}

function searchOf(query) {
  const kept = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
}

function read() {
  const [where, search = ""] = splitOnce(location.hash.replace(/^#\/?/, ""), "?");
  const parts = where.split("/").filter(Boolean).map(decode);
  return { path: `/${parts.join("/")}`, parts, query: Object.fromEntries(new URLSearchParams(search)) };
}

function splitOnce(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
