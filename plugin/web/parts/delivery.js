// SPDX-License-Identifier: AGPL-3.0-or-later
// Pieces of a delivery that several pages show.
import { html } from "../lib/html.js";
import { href } from "../lib/route.js";
import { dicomDate } from "../lib/time.js";
import { number, personName } from "../lib/words.js";
import { Badge, Tag } from "./badge.js";
import { Time } from "./time.js";

/** The state, and why it waits or what went wrong. */
export function State({ delivery }) {
  const { Status, Reason, NextAttempt, LastError } = delivery;
  const waits = NextAttempt && Status !== "Sending";
  return html`<${Badge} state=${Status} />
    <span class="second">
      ${Reason || (Status !== "Completed" && LastError?.Message)}${waits && html` ${Reason ? "· " : ""}<${Time} at=${NextAttempt} />`}
    </span>`;
}

/** Who and what, as a link to `to`. Without patient data: the study's UID. */
export function Who({ delivery, to = href(["deliveries", delivery.ID]) }) {
  const { PatientName, PatientID, StudyInstanceUID, AccessionNumber, StudyDate } = delivery;
  const name = personName(PatientName) || PatientID || StudyInstanceUID || delivery.ResourceID;
  const more = [PatientName && PatientID, AccessionNumber && `Acc. ${AccessionNumber}`, dicomDate(StudyDate)].filter(Boolean);
  return html`<a href=${to}>${name}</a><span class="second">${more.join(" · ")}</span>`;
}

/** The study's description and modalities. */
export function What({ delivery }) {
  return html`${delivery.Modalities.map((each) => html`<${Tag} key=${each}>${each}<//> `)}<span>${delivery.StudyDescription}</span>`;
}

/** Where to, and by which rule. */
export function Where({ delivery }) {
  return html`${delivery.Destination}<span class="second">${delivery.Rule || "by hand"}</span>`;
}

/** Sent of all, with what was refused. */
export function Images({ delivery }) {
  const { InstancesSent, InstancesCount, InstancesRefused } = delivery;
  return html`${number(InstancesSent)} / ${number(InstancesCount)}${InstancesRefused > 0 && html`<span class="second tone-bad">${number(InstancesRefused)} refused</span>`}`;
}

/** The columns of a list of deliveries. */
export const COLUMNS = [
  { key: "state", label: "State", render: (each) => html`<${State} delivery=${each} />` },
  { key: "who", label: "Patient", render: (each) => html`<${Who} delivery=${each} />` },
  { key: "what", label: "Study", render: (each) => html`<${What} delivery=${each} />` },
  { key: "where", label: "Destination", render: (each) => html`<${Where} delivery=${each} />` },
  { key: "images", label: "Images", kind: "number", render: (each) => html`<${Images} delivery=${each} />` },
  { key: "made", label: "Made", kind: "nowrap", render: (each) => html`<${Time} at=${each.CreatedAt} />` },
];
