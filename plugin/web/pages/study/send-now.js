// SPDX-License-Identifier: AGPL-3.0-or-later
// Send a study by hand: to destinations, or through the rules.
import { useState } from "preact/hooks";
import { get, path, post } from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { useLive } from "../../lib/live.js";
import { plural } from "../../lib/words.js";
import { Button } from "../../parts/button.js";
import { Dialog } from "../../parts/dialog.js";
import { Failure, Loading } from "../../parts/states.js";
import { told } from "../../parts/toast.js";

export function SendNow({ id, onClose, refresh }) {
  const { data, error } = useLive(({ signal }) => get("destinations", {}, { signal }), ["destinations"], 0);
  const [byRules, setByRules] = useState(false);
  const [chosen, setChosen] = useState([]);
  const toggle = (name) => setChosen(chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name]);
  const send = async () => {
    const { Deliveries } = await post(path`studies/${id}/route`, byRules ? {} : { Destinations: chosen });
    told(Deliveries.length ? `${plural(Deliveries.length, "delivery is", "deliveries are")} in the queue.` : "Nothing new was to be sent: no rule asks for it, or it is waiting already.");
    onClose();
    refresh();
  };
  return html`<${Dialog}
    title="Send this study now"
    onClose=${onClose}
    actions=${html`<${Button} onClick=${onClose}>Back<//><${Button} kind="primary" icon="send" disabled=${!byRules && !chosen.length} onClick=${send}>Send<//>`}
  >
    <fieldset class="choices">
      <legend class="only-read">How</legend>
      <label class="choice"><input type="radio" name="how" checked=${!byRules} onChange=${() => setByRules(false)} />To destinations that I choose</label>
      <label class="choice"><input type="radio" name="how" checked=${byRules} onChange=${() => setByRules(true)} />As all rules say now</label>
    </fieldset>
    ${!byRules && html`<fieldset class="choices indented">
      <legend class="label">Destinations</legend>
      ${error && html`<${Failure} error=${error} />`}
      ${!data && !error && html`<${Loading} />`}
      ${(data ?? []).map(({ Name, State }) => html`<label key=${Name} class="choice">
        <input type="checkbox" checked=${chosen.includes(Name)} onChange=${() => toggle(Name)} />${Name}${State !== "Up" && html` <span class="muted">(${State.toLowerCase()})</span>`}
      </label>`)}
    </fieldset>`}
  <//>`;
}
