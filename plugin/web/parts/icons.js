// SPDX-License-Identifier: AGPL-3.0-or-later
// Small drawings, 16 x 16, in the colour of the text. They say nothing to a screen reader: the text beside them does.
import { html } from "../lib/html.js";

const PATHS = {
  alert: "M8 1.8 15 14H1L8 1.8ZM8 6v4M8 12v.01",
  arrow: "M3 8h10M9 4l4 4-4 4",
  back: "M13 8H3M7 4 3 8l4 4",
  check: "M2.5 8.5 6 12l7.5-8",
  clock: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM8 4.5V8l2.5 1.5",
  close: "m3.5 3.5 9 9M12.5 3.5l-9 9",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  dark: "M13.5 9.8A6 6 0 0 1 6.2 2.5 6 6 0 1 0 13.5 9.8Z",
  down: "m4 6 4 4 4-4",
  edit: "m10.5 2.5 3 3L6 13l-3.5.5L3 10l7.5-7.5Z",
  filter: "M2 3.5h12L9.5 9v4.5l-3-1.5V9L2 3.5Z",
  grip: "M6 3.5v.01M10 3.5v.01M6 8v.01M10 8v.01M6 12.5v.01M10 12.5v.01",
  history: "M2 3.5h12M2 8h12M2 12.5h8",
  info: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM8 7.5V11M8 5v.01",
  light: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.5M8 13.5v1.5M1 8h1.5M13.5 8h1.5M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  overview: "M2 9.5h4v4H2zM2 2.5h4v4H2zM10 2.5h4v4h-4zM10 9.5h4v4h-4z",
  pause: "M5.5 3v10M10.5 3v10",
  play: "M4.5 2.5v11l9-5.5-9-5.5Z",
  plus: "M8 3v10M3 8h10",
  pulse: "M1 8.5h3l2-5 3.5 9 2-4H15",
  retry: "M13.5 8A5.5 5.5 0 1 1 11.800 4M13.5 1.5V5H10",
  rules: "M3 3h4v4H3zM9 9h4v4H9zM5 7v4h4",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.5 10.5 14 14",
  send: "M14 2 7 9M14 2l-4.5 12L7 9 2 6.5 14 2Z",
  stop: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM3.5 12.5l9-9",
  system: "M2 3h12v8H2zM6 14h4",
  trash: "M2.5 4.5h11M6 4.5v-2h4v2M4 4.5 4.5 14h7l.5-9.5",
  up: "m4 10 4-4 4 4",
};

/** `name` as in the list above. */
export function Icon({ name, size = 16 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} />
  </svg>`;
}
