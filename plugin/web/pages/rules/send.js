// SPDX-License-Identifier: AGPL-3.0-or-later
// Where a rule sends: one destination, the first of several, or one of several.
import { html } from "../../lib/html.js";
import { newSend } from "../../lib/rule-form.js";
import { destinations } from "../../lib/vocabulary.js";
import { Button } from "../../parts/button.js";
import { SelectField } from "../../parts/field.js";
import { Messages, RawJson, takeOut } from "./match.js";
import { Duration } from "./values.js";

const CHOICES = [["To", "to"], ["FirstOf", "to the first that works of"], ["OneOf", "to one in turn of"]];
const KINDS = { Modality: "DICOM modalities", Peer: "Orthanc peers", DicomWeb: "DICOMweb servers", Folder: "Folders" };
const DEFAULT_AFTER = "10m";
const AS_IT_SAYS = ["", "as the destination says"];
const VERIFY = [AS_IT_SAYS, ["Accepted", "it was accepted"], ["Counted", "the destination lists it (C-FIND)"], ["Committed", "it is committed (storage commitment)"]];
const LATE = [AS_IT_SAYS, ["New", "only the new instances are sent"], ["All", "all of it is sent again"], ["Never", "is not sent"]];

export function SendEditor({ part, onChange, errors }) {
  if (!part.form) return html`<${RawJson} id="Send" json=${part.json} errors=${errors.get("Send")}>This is no list; change it in the JSON.<//>`;
  const entries = part.form;
  const change = (id, made) => onChange({ form: entries.map((each) => (each.id === id ? made : each)).filter(Boolean) });
  return html`<div data-place="Send">
    <${Messages} messages=${errors.get("Send")} />
    ${!entries.length && html`<p class="muted">Nowhere yet: a rule needs at least one destination.</p>`}
    <ul class="condition-list">
      ${entries.map((entry) => html`<li key=${entry.id}><${Entry} entry=${entry} change=${(made) => change(entry.id, made)} errors=${errors} /></li>`)}
    </ul>
    <div class="row-actions">
      <${Button} kind="tight" icon="plus" onClick=${() => onChange({ form: [...entries, newSend([""])] })}>Destination<//>
    </div>
  </div>`;
}

function Entry({ entry, change, errors }) {
  const remove = html`<${Button} kind="quiet" icon="trash" label="Remove this destination" onClick=${(event) => takeOut(event, () => change(null))} />`;
  if ("json" in entry) {
    return html`<${RawJson} id=${entry.id} json=${entry.json} errors=${errors.get(entry.id)}>The form has no fields for this entry. ${remove}<//>`;
  }
  const { id, choice, members, options, after, by, andWhenBack } = entry;
  const set = (values) => change({ ...entry, ...values });
  const several = choice !== "To";
  const setChoice = (to) => set({ choice: to, members: to === "To" ? members.slice(0, 1) : [...members, "", ""].slice(0, Math.max(2, members.length)), after: undefined, by: undefined, andWhenBack: undefined });
  const setMember = (index, name) => set({ members: members.map((each, at) => (at === index ? name : each)) });
  return html`<div class="condition" data-place=${id}>
    <div class="condition-row send-row">
      <select class="send-choice" aria-label="How it is chosen" onChange=${(event) => setChoice(event.currentTarget.value)}>
        ${CHOICES.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === choice}>${text}</option>`)}
      </select>
      <div class="send-members">
        ${members.map(
          (name, index) => html`<div key=${index} class="send-member" data-place="${id}.${index}">
            <${DestinationSelect} name=${name} onChange=${(other) => setMember(index, other)} invalid=${errors.has(`${id}.${index}`) || errors.has(id)} />
            ${several && members.length > 2 && html`<${Button} kind="quiet" icon="close" label="Take ${name || "this one"} out" onClick=${() => set({ members: members.filter((_, at) => at !== index) })} />`}
            <${Messages} messages=${errors.get(`${id}.${index}`)} />
          </div>`,
        )}
        ${several && html`<${Button} kind="tight quiet" icon="plus" onClick=${() => set({ members: [...members, ""] })}>One more<//>`}
      </div>
      ${remove}
    </div>
    <${Messages} messages=${errors.get(id)} />
    ${choice === "FirstOf" &&
    html`<div class="condition-notes">
      <span class="label">The next one takes over after</span>
      <${Duration} label="After" value=${after ?? DEFAULT_AFTER} onChange=${(value) => set({ after: value === DEFAULT_AFTER ? undefined : value })} />
      <label><input type="checkbox" checked=${andWhenBack === true} onChange=${(event) => set({ andWhenBack: event.currentTarget.checked || undefined })} /> the first gets it too, once it is back</label>
    </div>`}
    ${choice === "OneOf" &&
    html`<div class="condition-notes">
      <label><input type="checkbox" checked=${by === "Patient"} onChange=${(event) => set({ by: event.currentTarget.checked ? "Patient" : undefined })} /> a patient stays with one of them</label>
    </div>`}
    <${Options} options=${options} onChange=${(changed) => set({ options: changed })} />
  </div>`;
}

/** What is different here from what the destination says of itself. */
function Options({ options, onChange }) {
  const { Verify, Late, ...others } = options;
  const set = (name, value) => {
    const { [name]: _, ...left } = options;
    onChange(value ? { ...left, [name]: value } : left);
  };
  return html`<details open=${Object.keys(options).length > 0}>
    <summary class="small">Options here</summary>
    <div class="fields">
      <${SelectField} label="Counts as arrived when" value=${Verify ?? ""} options=${VERIFY} onChange=${(value) => set("Verify", value)} />
      <${SelectField} label="What comes late" value=${Late ?? ""} options=${LATE} onChange=${(value) => set("Late", value)} />
    </div>
    ${Object.keys(others).length > 0 && html`<p class="condition-notes"><span class="muted">Also</span> <code>${JSON.stringify(others)}</code> <span class="muted">(change it in the JSON)</span></p>`}
  </details>`;
}

function DestinationSelect({ name, onChange, invalid }) {
  const known = destinations.value;
  const isKnown = !name || known.some((each) => each.Name === name);
  return html`<select aria-label="Destination" aria-invalid=${invalid ? "true" : undefined} onChange=${(event) => onChange(event.currentTarget.value)}>
    <option value="" selected=${!name}>Choose a destination</option>
    ${!isKnown && html`<option value=${name} selected>${name} (not known)</option>`}
    ${Object.entries(KINDS).map(([kind, text]) => {
      const own = known.filter((each) => each.Kind === kind);
      return own.length > 0 && html`<optgroup key=${kind} label=${text}>${own.map((each) => html`<option key=${each.Name} value=${each.Name} selected=${each.Name === name}>${each.Name}</option>`)}</optgroup>`;
    })}
  </select>`;
}
