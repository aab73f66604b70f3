// SPDX-License-Identifier: AGPL-3.0-or-later
// Resend and cancel for all that the filter shows.
import { useState } from "preact/hooks";
import { get, post } from "../../lib/api.js";
import { bodyOf, countInWords, ENDED, inWords, STATUSES, WAITS } from "../../lib/filter.js";
import { html } from "../../lib/html.js";
import { plural } from "../../lib/words.js";
import { Button } from "../../parts/button.js";
import { Dialog } from "../../parts/dialog.js";
import { ChosenDestination } from "../../parts/destination-field.js";
import { Failure, Loading, Notice } from "../../parts/states.js";
import { told } from "../../parts/toast.js";
import { useLive } from "../../lib/live.js";

export function Bulk({ filter, total, refresh }) {
  const [open, setOpen] = useState("");
  const shown = new Set(filter.status ? filter.status.split(",") : STATUSES);
  const resendable = [...shown].some((each) => ENDED.has(each) || WAITS.has(each));
  const cancelable = [...shown].some((each) => !ENDED.has(each));
  const close = () => setOpen("");
  return html`
    ${resendable && html`<${Button} icon="retry" disabled=${!total} onClick=${() => setOpen("resend")}>Resend these …<//>`}
    ${cancelable && html`<${Button} icon="stop" disabled=${!total} onClick=${() => setOpen("cancel")}>Cancel these …<//>`}
    ${open === "resend" && html`<${ResendMany} filter=${filter} onClose=${close} refresh=${refresh} />`}
    ${open === "cancel" && html`<${CancelMany} filter=${filter} onClose=${close} refresh=${refresh} />`}
  `;
}

/** How many of what the filter shows have one of these states. */
function useCount(filter, statuses) {
  const wanted = (filter.status ? filter.status.split(",") : STATUSES).filter((each) => statuses.includes(each));
  const asked = { ...filter, status: wanted.join(","), limit: 1 };
  const { data, error } = useLive(
    async ({ signal }) => (wanted.length ? (await get("history", asked, { signal })).Total : 0),
    [asked],
    3,
  );
  return { count: data, error, filter: { ...filter, status: wanted.join(",") } };
}

function ResendMany({ filter, onClose, refresh }) {
  const [destination, setDestination] = useState("");
  const statuses = destination ? [...ENDED, ...WAITS] : [...ENDED];
  const counted = useCount(filter, statuses);
  const run = async () => {
    const { Count } = await post("history-resend", { Filter: bodyOf(counted.filter), ...(destination && { Destination: destination }) });
    told(`${plural(Count, "delivery was", "deliveries were")} put into the queue.`);
    onClose();
    refresh();
  };
  return html`<${Asked} title="Resend what the filter shows" verb="Resend" kind="primary" counted=${counted} filter=${filter} run=${run} onClose=${onClose}>
    <${ChosenDestination} value=${destination} onChange=${setDestination} first="Each to its own destination" />
    <p class="muted small">
      ${destination
        ? `Each study goes to ${destination} as well; what still waits is moved there instead.`
        : "Deliveries that have ended are sent again: what failed with what is missing, what was delivered as a whole."}
    </p>
  <//>`;
}

function CancelMany({ filter, onClose, refresh }) {
  const counted = useCount(filter, STATUSES.filter((each) => !ENDED.has(each)));
  const run = async () => {
    const { Count } = await post("history-cancel", { Filter: bodyOf(counted.filter) });
    told(`${plural(Count, "delivery was", "deliveries were")} canceled.`);
    onClose();
    refresh();
  };
  return html`<${Asked} title="Cancel what the filter shows" verb="Cancel" kind="danger" counted=${counted} filter=${filter} run=${run} onClose=${onClose}>
    <p>The studies stay in Orthanc and can be sent again later. What is on its way ends with the image under way.</p>
  <//>`;
}

function Asked({ title, verb, kind, counted, filter, run, onClose, children }) {
  const { count, error } = counted;
  const label = count === undefined ? verb : `${verb} ${countInWords(count, filter)}`;
  return html`<${Dialog}
    title=${title}
    onClose=${onClose}
    actions=${html`<${Button} onClick=${onClose}>Back<//><${Button} kind=${kind} disabled=${!count} onClick=${run}>${label}<//>`}
  >
    <p>Filter: <strong>${inWords(filter) || "none, so all of the history"}</strong></p>
    ${children}
    ${error && html`<${Failure} error=${error} />`}
    ${count === undefined && !error && html`<${Loading} what="Counting" />`}
    ${count === 0 && html`<${Notice} tone="wait">Nothing of it can be changed this way.<//>`}
    ${count > 1000 && html`<${Notice} tone="warn">These are many. They take a while, and the destinations get all of them.<//>`}
  <//>`;
}
