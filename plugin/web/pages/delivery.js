// SPDX-License-Identifier: AGPL-3.0-or-later
import { html } from "../lib/html.js";
import { PageHead } from "../parts/layout.js";

export default function Delivery() {
  return html`<${PageHead} title="Delivery" />`;
}
