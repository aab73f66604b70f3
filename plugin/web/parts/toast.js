// SPDX-License-Identifier: AGPL-3.0-or-later
// Short messages at the edge of the page: what was done, what went wrong.
import { signal } from "@preact/signals";
import { html } from "../lib/html.js";
import { Icon } from "./icons.js";

const SECONDS = 6;
const toasts = signal([]);
let last = 0;

/** What was done. */
export const told = (text) => show("good", text);

/** What went wrong; stays until it is closed. */
export function failed(error) {
  const details = (error.problems ?? []).map((each) => each.Message).filter((text) => text !== error.message);
  show("bad", [error.message, ...details].join(" "));
}

function show(tone, text) {
  const id = (last += 1);
  toasts.value = [...toasts.value, { id, tone, text }].slice(-4);
  if (tone !== "bad") setTimeout(() => dismiss(id), SECONDS * 1000);
}

const dismiss = (id) => (toasts.value = toasts.value.filter((each) => each.id !== id));

/** Once in the page: a live region that a screen reader reads out. */
export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      ({ id, tone, text }) => html`<div key=${id} class="toast ${tone}">
        <${Icon} name=${tone === "bad" ? "alert" : "check"} />
        <p>${text}</p>
        <button type="button" class="button quiet only-icon" aria-label="Dismiss" onClick=${() => dismiss(id)}>
          <${Icon} name="close" size=${12} />
        </button>
      </div>`,
    )}
  </div>`;
}
