// SPDX-License-Identifier: AGPL-3.0-or-later
// Ask what to send again, and where to.
import { useState } from "preact/hooks";
import { path, post } from "../../lib/api.js";
import { WAITS } from "../../lib/filter.js";
import { html } from "../../lib/html.js";
import { navigate } from "../../lib/route.js";
import { Button } from "../../parts/button.js";
import { ChosenDestination } from "../../parts/destination-field.js";
import { Dialog } from "../../parts/dialog.js";
import { told } from "../../parts/toast.js";

export function ResendDialog({ delivery, onClose }) {
  const waits = WAITS.has(delivery.Status);
  const [destination, setDestination] = useState("");
  const [instances, setInstances] = useState(delivery.Status === "Completed" ? "All" : "Missing");
  const send = async () => {
    const { ID } = await post(path`history/${delivery.ID}/resend`, { Instances: instances, ...(destination && { Destination: destination }) });
    told("It is in the queue.");
    onClose();
    navigate(["deliveries", ID]);
  };
  return html`<${Dialog}
    title=${waits ? "Send to another destination" : "Resend"}
    onClose=${onClose}
    actions=${html`<${Button} onClick=${onClose}>Back<//><${Button} kind="primary" icon="send" disabled=${waits && !destination} onClick=${send}>Send<//>`}
  >
    <${ChosenDestination} value=${destination} onChange=${setDestination} first=${waits ? "Choose one" : `${delivery.Destination}, as before`} />
    <fieldset class="choices">
      <legend class="label">Images</legend>
      <${Choice} value="Missing" chosen=${instances} choose=${setInstances} label="What the destination does not have yet" />
      <${Choice} value="All" chosen=${instances} choose=${setInstances} label="All of them again" />
    </fieldset>
    ${waits && html`<p class="muted small">This delivery waits. It is moved: canceled here, and made anew for the other destination.</p>`}
  <//>`;
}

function Choice({ value, chosen, choose, label }) {
  return html`<label class="choice">
    <input type="radio" name="instances" value=${value} checked=${chosen === value} onChange=${() => choose(value)} />${label}
  </label>`;
}
