// SPDX-License-Identifier: AGPL-3.0-or-later
// What stands where data would: nothing yet, nothing at all, an error. Each says what to do.
import { html } from "../lib/html.js";
import { Button } from "./button.js";
import { Icon } from "./icons.js";

/** While the first data comes; quick answers are never seen as a flash (see .loading in the style). */
export const Loading = ({ what = "Loading" }) => html`<div class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${what} …</div>`;

/** Nothing there. `children`: what to do. */
export function Empty({ icon = "info", title, children }) {
  return html`<div class="empty"><${Icon} name=${icon} size=${28} /><p class="empty-title">${title}</p><div>${children}</div></div>`;
}

/** An ApiError, with its problems. `retry`: a function. */
export function Failure({ error, retry }) {
  return html`<div class="notice bad" role="alert">
    <${Icon} name="alert" />
    <div>
      <p><strong>${error.message}</strong></p>
      <${ProblemList} problems=${(error.problems ?? []).filter((each) => each.Message !== error.message)} />
      ${retry && html`<p><${Button} icon="retry" onClick=${retry}>Try again<//></p>`}
    </div>
  </div>`;
}

/** Problems or warnings of REST: [{Path, Message}]. */
export function ProblemList({ problems }) {
  if (!problems?.length) return null;
  return html`<ul class="problems">
    ${problems.map(({ Path, Message }) => html`<li>${Path && html`<code>${Path}</code>`} <span>${Message}</span></li>`)}
  </ul>`;
}

/** A boxed remark. `tone`: "good", "warn", "bad" or "wait". */
export function Notice({ tone = "wait", icon, children }) {
  const own = { good: "check", warn: "alert", bad: "alert", wait: "info" };
  return html`<div class="notice ${tone}"><${Icon} name=${icon ?? own[tone]} /><div>${children}</div></div>`;
}
