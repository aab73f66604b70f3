// SPDX-License-Identifier: AGPL-3.0-or-later
import { signal } from "@preact/signals";
import { html } from "../lib/html.js";
import { relative, short, utc, whole } from "../lib/time.js";

/** Now, every ten seconds: what is told as "3 minutes ago" goes on by itself. */
const now = signal(Date.now());
setInterval(() => document.hidden || (now.value = Date.now()), 10_000);

/** A time of REST in the viewer's zone, UTC on hover. `as`: "short", "whole" or "relative". */
export function Time({ at, as = "short", empty = "–" }) {
  if (!at) return html`<span class="muted">${empty}</span>`;
  const shown = { short: () => short(at, now.value), whole: () => whole(at), relative: () => relative(at, now.value) };
  return html`<time datetime=${at} title="${whole(at)} here${"\n"}${utc(at)}">${shown[as]()}</time>`;
}
