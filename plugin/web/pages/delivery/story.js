// SPDX-License-Identifier: AGPL-3.0-or-later
// What happened to a delivery: attempts, refused images, timeline.
import { html } from "../../lib/html.js";
import { duration } from "../../lib/time.js";
import { number } from "../../lib/words.js";
import { Badge } from "../../parts/badge.js";
import { Empty } from "../../parts/states.js";
import { Table } from "../../parts/table.js";
import { Time } from "../../parts/time.js";

const ATTEMPTS = [
  { key: "number", label: "No.", render: (each) => each.Number },
  { key: "began", label: "Began", kind: "nowrap", render: (each) => html`<${Time} at=${each.StartedAt} />` },
  { key: "took", label: "Took", kind: "nowrap", render: (each) => took(each) },
  { key: "images", label: "Images sent", kind: "number", render: (each) => html`${number(each.InstancesSent)}${each.InstancesRefused > 0 && html`<span class="second tone-bad">${number(each.InstancesRefused)} refused</span>`}` },
  { key: "error", label: "Result", kind: "wide", render: (each) => result(each) },
  { key: "jobs", label: "Orthanc jobs", render: (each) => html`<${Jobs} jobs=${each.Jobs} />` },
];

export function Attempts({ attempts }) {
  if (!attempts.length) return html`<p class="muted">None yet.</p>`;
  return html`<${Table} caption="Attempts" columns=${ATTEMPTS} rows=${[...attempts].reverse()} keyOf=${(each) => each.Number} />`;
}

function took({ StartedAt, EndedAt }) {
  return EndedAt ? duration((Date.parse(EndedAt) - Date.parse(StartedAt)) / 1000) : html`<span class="muted">goes on</span>`;
}

function result({ EndedAt, Error }) {
  if (Error) return html`${Error.Message}<span class="second"><code>${Error.Code}</code>, ${Error.Class.toLowerCase()}</span>`;
  return EndedAt ? "Good" : html`<span class="muted">on its way</span>`;
}

/** Orthanc forgets ended jobs after a while (JobsHistorySize), so a link may lead nowhere. */
function Jobs({ jobs }) {
  if (!jobs.length) return html`<span class="muted">none</span>`;
  if (jobs.length === 1) return html`<${JobLink} id=${jobs[0]} />`;
  return html`<details><summary>${number(jobs.length)}</summary>${jobs.map((id) => html`<div key=${id}><${JobLink} id=${id} /></div>`)}</details>`;
}

const JobLink = ({ id }) => html`<a class="mono" href="../../jobs/${id}" target="_blank" rel="noreferrer" title=${id}>${id.slice(0, 8)}</a>`;

const REFUSED = [
  { key: "uid", label: "SOPInstanceUID", kind: "wide", render: (each) => html`<a class="mono" href="../../app/explorer.html#instance?uuid=${each.InstanceID}">${each.SOPInstanceUID}</a>` },
  { key: "why", label: "Why", render: (each) => html`${each.Message}<span class="second"><code>${each.Code}</code></span>` },
  { key: "when", label: "When", kind: "nowrap", render: (each) => html`<${Time} at=${each.At} />` },
];

export function Refused({ refused }) {
  return html`<${Table} caption="Refused images" columns=${REFUSED} rows=${refused} keyOf=${(each) => each.SOPInstanceUID} />`;
}

export function Timeline({ timeline }) {
  if (!timeline.length) return html`<${Empty} icon="clock" title="Nothing has happened yet" />`;
  return html`<ol class="timeline">
    ${[...timeline].reverse().map((each, index) => html`<li key=${timeline.length - index}>
      <div><${Badge} state=${each.Status} /> <${Time} at=${each.At} /></div>
      ${each.Text && html`<p>${each.Text}</p>`}
    </li>`)}
  </ol>`;
}
