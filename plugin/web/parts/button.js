// SPDX-License-Identifier: AGPL-3.0-or-later
import { useState } from "preact/hooks";
import { html } from "../lib/html.js";
import { Icon } from "./icons.js";
import { failed } from "./toast.js";

/**
 * A button that shows that its work goes on and cannot be pressed twice; it keeps the focus meanwhile. `onClick` may be async; what it throws is told.
 * `kind`: "", "primary", "danger" or "quiet". A button with an icon only needs `label`.
 */
export function Button({ onClick, icon, kind = "", label, children, disabled, type = "button", ...more }) {
  const [busy, setBusy] = useState(false);
  const press = async (event) => {
    if (!onClick || busy) return;
    setBusy(true);
    try {
      await onClick(event);
    } catch (error) {
      failed(error);
    } finally {
      setBusy(false);
    }
  };
  return html`<button
    type=${type}
    class="button ${kind} ${children ? "" : "only-icon"}"
    aria-label=${label}
    title=${children ? undefined : label}
    aria-busy=${busy ? "true" : undefined}
    aria-disabled=${busy ? "true" : undefined}
    disabled=${disabled}
    onClick=${onClick ? press : undefined}
    ...${more}
  >
    ${busy ? html`<span class="spinner" aria-hidden="true"></span>` : icon && html`<${Icon} name=${icon} />`}
    ${children && html`<span>${children}</span>`}
  </button>`;
}

/** A link that looks like a button. */
export function LinkButton({ href, icon, kind = "", children, ...more }) {
  return html`<a class="button ${kind}" href=${href} ...${more}>
    ${icon && html`<${Icon} name=${icon} />`}<span>${children}</span>
  </a>`;
}
