// SPDX-License-Identifier: AGPL-3.0-or-later
// The fields above the history. What they say stands in the address.
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../../lib/api.js";
import { STATUSES, toLocal, toUtc } from "../../lib/filter.js";
import { html } from "../../lib/html.js";
import { useLive } from "../../lib/live.js";
import { Button } from "../../parts/button.js";
import { SelectField, TextField } from "../../parts/field.js";

const TYPING_MS = 300;
const RARE = ["patient", "accession", "study", "from", "to"];

export function Filters({ filter, change }) {
  const rare = RARE.filter((name) => filter[name]);
  const [more, setMore] = useState(rare.length > 0);
  const count = Object.keys(filter).length;
  return html`<form class="filters" role="search" aria-label="Filter the history" onSubmit=${(event) => event.preventDefault()}>
    <${Statuses} value=${filter.status ?? ""} change=${change} />
    <div class="filter-fields">
      <${Typed} name="q" label="Search" placeholder="Name, ID, accession, description …" filter=${filter} change=${change} type="search" />
      <${Named} name="destination" label="Destination" from="destinations" filter=${filter} change=${change} />
      <${Named} name="rule" label="Rule" from="rules" filter=${filter} change=${change} />
      <div class="filter-buttons">
        <${Button} kind="quiet" icon="filter" aria-expanded=${more} onClick=${() => setMore(!more)}>${more ? "Fewer filters" : "More filters"}<//>
        ${count > 0 && html`<${Button} kind="quiet" icon="close" onClick=${() => change(Object.fromEntries(Object.keys(filter).map((name) => [name, ""])))}>Clear<//>`}
      </div>
    </div>
    ${more && html`<div class="filter-fields">
      <${Typed} name="patient" label="Patient (ID, or part of the name)" filter=${filter} change=${change} />
      <${Typed} name="accession" label="Accession number" filter=${filter} change=${change} />
      <${Typed} name="study" label="Study (Orthanc ID or UID)" filter=${filter} change=${change} />
      <${When} name="from" label="Made from" filter=${filter} change=${change} />
      <${When} name="to" label="Made until" filter=${filter} change=${change} />
    </div>`}
  </form>`;
}

/** Any number of states; none means all. */
function Statuses({ value, change }) {
  const chosen = new Set(value.split(",").filter(Boolean).map((each) => each.toLowerCase()));
  const toggle = (status) => {
    const key = status.toLowerCase();
    if (!chosen.delete(key)) chosen.add(key);
    change({ status: STATUSES.filter((each) => chosen.has(each.toLowerCase())).join(",") });
  };
  return html`<div class="toggles" role="group" aria-label="States">
    ${STATUSES.map((status) => html`<button key=${status} type="button" class="toggle" aria-pressed=${chosen.has(status.toLowerCase())} onClick=${() => toggle(status)}>${status}</button>`)}
  </div>`;
}

/** A text that is looked for once the typing pauses. */
function Typed({ name, filter, change, ...more }) {
  const [text, setText] = useState(filter[name] ?? "");
  const timer = useRef();
  const own = useRef(text);
  const latest = useRef(change);
  latest.current = change;
  useEffect(() => {
    // The address was changed by something else: a link, or "Clear".
    if ((filter[name] ?? "") !== own.current) setText((own.current = filter[name] ?? ""));
  }, [filter[name]]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const typed = (value) => {
    setText(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => latest.current({ [name]: (own.current = value.trim()) }, { typed: true }), TYPING_MS);
  };
  return html`<${TextField} value=${text} onInput=${typed} autocomplete="off" ...${more} />`;
}

/** One of the destinations or rules. A name that is no more is kept: its deliveries may still be there. */
function Named({ name, label, from, filter, change }) {
  const { data } = useLive(({ signal }) => get(from, {}, { signal }), [from], 0);
  const names = [...new Set([...(data ?? []).map((each) => each.Name), filter[name] ?? ""])].filter(Boolean);
  const options = [["", "All"], ...names.map((each) => [each, each])];
  return html`<${SelectField} label=${label} value=${filter[name] ?? ""} options=${options} onChange=${(value) => change({ [name]: value })} />`;
}

/** A time in the viewer's zone; the address has it in UTC, so that a shared link means the same elsewhere. */
function When({ name, label, filter, change }) {
  return html`<${TextField} type="datetime-local" label=${label} value=${toLocal(filter[name])} onInput=${(value) => change({ [name]: toUtc(value) }, { typed: true })} />`;
}
