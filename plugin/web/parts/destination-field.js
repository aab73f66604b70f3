// SPDX-License-Identifier: AGPL-3.0-or-later
import { get } from "../lib/api.js";
import { html } from "../lib/html.js";
import { useLive } from "../lib/live.js";
import { SelectField } from "./field.js";

/** One of the router's destinations. `first`: the words for "as it is", which is the value "". */
export function ChosenDestination({ value, onChange, first, label = "Destination" }) {
  const { data } = useLive(({ signal }) => get("destinations", {}, { signal }), ["destinations"], 0);
  const options = [["", first], ...(data ?? []).map((each) => [each.Name, each.Name])];
  return html`<${SelectField} label=${label} value=${value} options=${options} onChange=${onChange} />`;
}
