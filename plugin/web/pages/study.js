// SPDX-License-Identifier: AGPL-3.0-or-later
// Why a study was or was not sent, and sending it now.
import { useState } from "preact/hooks";
import { get, path } from "../lib/api.js";
import { html } from "../lib/html.js";
import { useLive } from "../lib/live.js";
import { href } from "../lib/route.js";
import { dicomDate } from "../lib/time.js";
import { personName, plural } from "../lib/words.js";
import { Button, LinkButton } from "../parts/button.js";
import { COLUMNS } from "../parts/delivery.js";
import { PageHead, Section } from "../parts/layout.js";
import { Empty, Failure, Loading } from "../parts/states.js";
import { Table } from "../parts/table.js";
import { Time } from "../parts/time.js";
import { SendNow } from "./study/send-now.js";
import { Verdicts } from "./study/verdicts.js";

const BACK = { href: href(["history"]), label: "History" };
const TRIGGERS = { ByHand: "by hand", Backfill: "by a backfill" };

export default function StudyPage({ parts: [, id] }) {
  const { data, error, refresh } = useLive(({ signal }) => get(path`studies/${id}/explain`, {}, { signal }), ["study", id], 5);
  const [sending, setSending] = useState(false);
  if (!data || data.ResourceID !== id) return html`<${Absent} error=${error} retry=${refresh} />`;
  const deleted = data.Now.length === 0 && data.Stored.length > 0;
  return html`
    <${PageHead} title=${titleOf(data)} lead=${leadOf(data)} back=${BACK}>
      <${LinkButton} href="../../app/explorer.html#study?uuid=${id}">Orthanc Explorer<//>
      ${!deleted && html`<${Button} kind="primary" icon="send" onClick=${() => setSending(true)}>Send now …<//>`}
    <//>
    ${error && html`<${Failure} error=${error} retry=${refresh} />`}
    <${Section} title="In short"><ul class="sentences">${data.Sentences.filter(isOfRules).map((each) => html`<li key=${each}>${each}</li>`)}</ul><//>
    <${Section} title="Deliveries" aside=${plural(data.Deliveries.length, "delivery", "deliveries")}>
      ${data.Deliveries.length
        ? html`<${Table} caption="Deliveries of this study" columns=${LIST} rows=${data.Deliveries} keyOf=${(each) => each.ID} />`
        : html`<${Empty} icon="send" title="It was sent nowhere">The rules below say why. “Send now” sends it all the same.<//>`}
    <//>
    <${Section} title="What the rules say now">
      ${data.Now.length ? html`<${Verdicts} rules=${data.Now} />` : html`<p class="muted">${deleted ? "Orthanc has this study no more." : "There are no rules."}</p>`}
    <//>
    ${data.Stored.length > 0 && html`<${Section} title="What was decided then"><${Stored} decisions=${data.Stored} /><//>`}
    ${sending && html`<${SendNow} id=${id} onClose=${() => setSending(false)} refresh=${refresh} />`}
  `;
}

/** The deliveries themselves stand in the table below, with the times of the viewer's zone. */
const isOfRules = (sentence) => !/^Delivery \d+ to /.test(sentence);

const LIST = COLUMNS.filter((each) => each.key !== "what").map((each) =>
  each.key === "who" ? { ...each, label: "Delivery", render: (row) => html`<a href=${href(["deliveries", row.ID])}>No. ${row.ID}</a>` } : each,
);

function Absent({ error, retry }) {
  if (error?.status === 404) {
    return html`<${PageHead} title="Study" back=${BACK} /><${Empty} icon="search" title="Orthanc has no such study">
      The address needs Orthanc's own ID of a study. To find a study by its number or name, use the <a href=${href(["history"])}>history</a>.
    <//>`;
  }
  return html`<${PageHead} title="Study" back=${BACK} />${error ? html`<${Failure} error=${error} retry=${retry} />` : html`<${Loading} what="Asking the rules" />`}`;
}

function titleOf({ Deliveries: [first] }) {
  return first?.StudyDescription || "Study";
}

function leadOf({ Deliveries: [first], ResourceID }) {
  if (!first) return html`<code>${ResourceID}</code>`;
  const told = [personName(first.PatientName), first.PatientID, dicomDate(first.StudyDate), first.AccessionNumber && `Acc. ${first.AccessionNumber}`];
  return told.filter(Boolean).join(" · ") || html`<code>${ResourceID}</code>`;
}

function Stored({ decisions }) {
  return html`<div class="stack">
    ${decisions.map(({ MadeAt, Trigger, Rules }, index) => html`<details key=${`${MadeAt} ${Trigger}`} open=${index === 0}>
      <summary><${Time} at=${MadeAt} as="whole" /> · ${TRIGGERS[Trigger] ?? Trigger} · ${plural(Rules.filter((each) => each.Matched).length, "rule")} matched</summary>
      <${Verdicts} rules=${Rules} />
    </details>`)}
  </div>`;
}
