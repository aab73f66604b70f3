// SPDX-License-Identifier: AGPL-3.0-or-later
// Tables that become cards where the page is narrow.
import { html } from "../lib/html.js";

/**
 * `columns`: [{key, label, render(row), kind}], `kind` "number" aligns to the right, "wide" takes what is left.
 * The first column's cell is the row's name. `caption` is for screen readers.
 */
export function Table({ columns, rows, keyOf, caption }) {
  return html`<div class="table-frame" role="region" aria-label=${caption} tabindex="0">
    <table>
      <caption class="only-read">${caption}</caption>
      <thead>
        <tr>${columns.map((each) => html`<th key=${each.key} scope="col" class=${each.kind}>${each.label}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${keyOf(row)}>
            ${columns.map((each) => html`<td key=${each.key} class=${each.kind} data-label=${each.label}>${each.render(row)}</td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** Names and values below each other: [[label, value], …]; empty values are left out. */
export function Facts({ facts }) {
  return html`<dl class="facts">
    ${facts
      .filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}
