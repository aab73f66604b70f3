// SPDX-License-Identifier: AGPL-3.0-or-later
// One delivery and its story.
import { useState } from "preact/hooks";
import { get, path, post } from "../lib/api.js";
import { ENDED, WAITS } from "../lib/filter.js";
import { html } from "../lib/html.js";
import { useLive } from "../lib/live.js";
import { href } from "../lib/route.js";
import { dicomDate } from "../lib/time.js";
import { number, personName, plural, size } from "../lib/words.js";
import { Badge } from "../parts/badge.js";
import { Button, LinkButton } from "../parts/button.js";
import { confirm } from "../parts/dialog.js";
import { PageHead, Section } from "../parts/layout.js";
import { Empty, Failure, Loading, Notice } from "../parts/states.js";
import { Facts } from "../parts/table.js";
import { Time } from "../parts/time.js";
import { told } from "../parts/toast.js";
import { Attempts, Refused, Timeline } from "./delivery/story.js";
import { ResendDialog } from "./delivery/resend.js";

const BACK = { href: href(["history"]), label: "History" };

export default function DeliveryPage({ parts: [, id] }) {
  const { data, error, refresh } = useLive(({ signal }) => get(path`history/${id}`, {}, { signal }), ["delivery", id], 2);
  if (!data || String(data.ID) !== id) return html`<${Absent} id=${id} error=${error} retry=${refresh} />`;
  return html`
    <${Head} delivery=${data} refresh=${refresh} />
    ${error && html`<${Failure} error=${error} retry=${refresh} />`}
    <${Wrong} delivery=${data} />
    <div class="main-and-side">
      <div class="stack">
        <${Section} title="Delivery"><${About} delivery=${data} /><//>
        <${Section} title="Attempts" aside=${plural(data.AttemptsCount, "attempt")}><${Attempts} attempts=${data.Attempts} /><//>
        ${data.RefusedInstances.length > 0 && html`<${Section} title="Refused images" aside=${number(data.RefusedInstances.length)}><${Refused} refused=${data.RefusedInstances} /><//>`}
      </div>
      <${Section} title="Timeline"><${Timeline} timeline=${data.Timeline} /><//>
    </div>
  `;
}

function Absent({ id, error, retry }) {
  if (error?.status === 404) {
    return html`<${PageHead} title="Delivery ${id}" back=${BACK} /><${Empty} icon="search" title="There is no delivery ${id}">
      It may be older than the history is kept (Retention.History in the configuration).
    <//>`;
  }
  return html`<${PageHead} title="Delivery ${id}" back=${BACK} />${error ? html`<${Failure} error=${error} retry=${retry} />` : html`<${Loading} />`}`;
}

function Head({ delivery, refresh }) {
  const { ID, Status, Destination, StudyDescription, Reason, NextAttempt } = delivery;
  const [resending, setResending] = useState(false);
  const cancel = async () => {
    const sure = await confirm({
      title: "Cancel this delivery?",
      body: "The study stays in Orthanc and can be sent again later. What is on its way ends with the image under way.",
      action: "Cancel the delivery",
      kind: "danger",
    });
    if (!sure) return;
    await post(path`history/${ID}/cancel`);
    told("The delivery is canceled.");
    refresh();
  };
  const lead = html`<${Badge} state=${Status} /> <span>${Reason}${NextAttempt && html` · planned for <${Time} at=${NextAttempt} />`}</span>`;
  const study = delivery.Level === "Study" ? delivery.ResourceID : null;
  return html`<${PageHead} title=${`${StudyDescription || "Study"} to ${Destination}`} lead=${lead} back=${BACK}>
    ${study && html`<${LinkButton} icon="info" href=${href(["studies", study])}>Why?<//>`}
    ${!ENDED.has(Status) && html`<${Button} icon="stop" kind="danger" onClick=${cancel}>Cancel<//>`}
    ${(ENDED.has(Status) || WAITS.has(Status)) && html`<${Button} icon="retry" kind="primary" onClick=${() => setResending(true)}>${ENDED.has(Status) ? "Resend …" : "Send elsewhere …"}<//>`}
    ${resending && html`<${ResendDialog} delivery=${delivery} onClose=${() => setResending(false)} />`}
  <//>`;
}

const REMEDY = {
  Transient: "This passes by itself or is mended at the destination; the router tries again.",
  Permanent: "Trying again does not help. Mend what the message says, then resend.",
};

const GIVEN_UP = "The router has given up. Once the cause is gone, resend it.";

function remedy({ LastError, Status }) {
  if (LastError.Class === "Permanent") return REMEDY.Permanent;
  if (Status === "Failed") return GIVEN_UP;
  return ENDED.has(Status) ? "" : REMEDY.Transient;
}

function Wrong({ delivery }) {
  const { LastError, Status } = delivery;
  if (!LastError || Status === "Completed") return null;
  return html`<${Notice} tone=${Status === "Failed" ? "bad" : "warn"}>
    <p><strong>${LastError.Message}</strong> <code>${LastError.Code}</code></p>
    <p>${remedy(delivery)}</p>
  <//>`;
}

function About({ delivery }) {
  const { PatientName, PatientID, StudyInstanceUID, Rule, RuleVersion, InstancesSent, InstancesCount, InstancesRefused } = delivery;
  return html`<${Facts}
    facts=${[
      ["Patient", [personName(PatientName), PatientID].filter(Boolean).join(" · ")],
      ["Study date", dicomDate(delivery.StudyDate)],
      ["Accession number", delivery.AccessionNumber],
      ["Modalities", delivery.Modalities.join(", ")],
      ["Images", `${number(InstancesSent)} of ${number(InstancesCount)} sent${InstancesRefused ? `, ${number(InstancesRefused)} refused` : ""}`],
      ["Size", delivery.Bytes ? size(delivery.Bytes) : ""],
      ["Rule", Rule ? html`<a href=${href(["rules", "edit", Rule])}>${Rule}</a>${RuleVersion ? `, version ${RuleVersion}` : ""}` : "none: sent by hand"],
      ["Received from", [delivery.RemoteAET, delivery.CalledAET && `called ${delivery.CalledAET}`].filter(Boolean).join(", ")],
      ["Priority", delivery.Priority],
      ["Verified", delivery.Verified],
      ["Made", html`<${Time} at=${delivery.CreatedAt} as="whole" />`],
      ["Ended", delivery.CompletedAt && html`<${Time} at=${delivery.CompletedAt} as="whole" />`],
      ["Resend of", delivery.ResendOf && html`<a href=${href(["deliveries", delivery.ResendOf])}>delivery ${delivery.ResendOf}</a>`],
      ["StudyInstanceUID", StudyInstanceUID && html`<code>${StudyInstanceUID}</code>`],
    ]}
  />`;
}
