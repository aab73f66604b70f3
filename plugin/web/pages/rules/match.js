// SPDX-License-Identifier: AGPL-3.0-or-later
// Conditions and groups of them, nested.
import { useId } from "preact/hooks";
import { html } from "../../lib/html.js";
import { changePart, GROUPS, isShowable, newCondition, newGroup, withOperator } from "../../lib/match-form.js";
import { emptyMatch } from "../../lib/rule-form.js";
import { ALL_OPERATORS, GROUP_WORDS, operatorWords } from "../../lib/rule-words.js";
import { findKeys, termOf } from "../../lib/vocabulary.js";
import { Button } from "../../parts/button.js";
import { Combobox } from "../../parts/combobox.js";
import { Icon } from "../../parts/icons.js";
import { Operand } from "./values.js";

/** `part`: {form} or {json} of a rule form. `errors`: Map of id to messages. `empty`: what no condition means. */
export function MatchEditor({ name, part, onChange, errors, empty }) {
  if (!part.form) {
    return html`<${RawJson} id=${name} json=${part.json} errors=${errors.get(name)}>
      This part says something that the form has no fields for. It stays as it is; change it in the JSON.
      <${Button} onClick=${() => onChange(emptyMatch())}>Begin anew<//>
    <//>`;
  }
  const change = (id, made) => onChange({ form: changePart(part.form, id, made) });
  return html`<${Items} group=${part.form} change=${change} errors=${errors} empty=${empty} root />`;
}

function Items({ group, change, errors, empty, root = false }) {
  const add = (item) => change(group.id, (own) => ({ ...own, items: [...own.items, item] }));
  return html`<div class="conditions" data-place=${group.id}>
    <${Messages} messages=${errors.get(group.id)} />
    ${!group.items.length && html`<p class="muted">${empty}</p>`}
    ${group.items.length > 0 &&
    html`<ul class="condition-list">
      ${group.items.map((item) => html`<li key=${item.id}><${Item} item=${item} change=${change} errors=${errors} /></li>`)}
    </ul>`}
    <div class="row-actions">
      <${Button} kind="tight" icon="plus" onClick=${() => add(newCondition({ fresh: true }))}>Condition<//>
      <${Button} kind="tight quiet" icon="plus" onClick=${() => add(newGroup(root ? "Any" : "All", [newCondition({ fresh: true })]))}>Group<//>
    </div>
  </div>`;
}

function Item({ item, change, errors }) {
  return item.kind === "group" ? html`<${Group} group=${item} change=${change} errors=${errors} />` : html`<${Condition} condition=${item} change=${change} errors=${errors} />`;
}

function Group({ group, change, errors }) {
  const id = useId();
  const setType = (type) => change(group.id, (own) => ({ ...own, type, explicit: false }));
  return html`<fieldset class="group" aria-labelledby=${id}>
    <div class="group-head">
      <span id=${id} class="only-read">Group of conditions</span>
      <select aria-label="How many must hold" onChange=${(event) => setType(event.currentTarget.value)}>
        ${GROUPS.map((type) => html`<option key=${type} value=${type} selected=${type === group.type}>${GROUP_WORDS[type]}</option>`)}
      </select>
      <${Button} kind="quiet" icon="trash" label="Remove this group" onClick=${(event) => takeOut(event, () => change(group.id, () => null))} />
    </div>
    <${Items} group=${group} change=${change} errors=${errors} empty=${group.type === "Any" ? "Nothing yet: this never holds." : "Nothing yet."} />
  </fieldset>`;
}

function Condition({ condition, change, errors }) {
  const id = useId();
  const { key, operator } = condition;
  const term = termOf(key);
  const messages = errors.get(condition.id);
  const set = (values) => change(condition.id, (own) => ({ ...own, ...values }));
  const setKey = (name) => {
    const fits = termOf(name)?.Operators ?? ALL_OPERATORS;
    change(condition.id, (own) => ({ ...(fits.includes(own.operator) ? own : withOperator(own, fits[0])), key: name }));
  };
  const setOperator = (name) => change(condition.id, (own) => withOperator(own, name));
  const attributes = messages ? { "aria-invalid": "true", "aria-describedby": `${id}-error` } : {};
  return html`<div class="condition" role="group" aria-label=${key ? `Condition on ${key}` : "New condition"} data-place=${condition.id} data-key=${key}>
    <div class="condition-row">
      <div class="condition-key">
        <${Combobox} label="Tag or attribute" value=${key} onPick=${setKey} load=${findKeys} placeholder="Tag, like Modality" autofocus=${condition.fresh} attributes=${key ? {} : attributes} />
      </div>
      <${OperatorSelect} term=${term} operator=${operator} onChange=${setOperator} />
      <div class="condition-value">
        ${isShowable(condition)
          ? html`<${Operand} condition=${condition} term=${term} onChange=${(operand) => set({ operand })} attributes=${attributes} />`
          : html`<code class="raw">${JSON.stringify(condition.operand)}</code>`}
      </div>
      <${Button} kind="quiet" icon="trash" label="Remove ${key || "this condition"}" onClick=${(event) => takeOut(event, () => change(condition.id, () => null))} />
    </div>
    <${Messages} id="${id}-error" messages=${messages} />
    ${key && html`<${Notes} condition=${condition} term=${term} set=${set} />`}
  </div>`;
}

function OperatorSelect({ term, operator, onChange }) {
  const fits = term?.Operators ?? ALL_OPERATORS;
  const shown = fits.includes(operator) ? fits : [operator, ...fits];
  return html`<select class="condition-operator" aria-label="Operator" onChange=${(event) => onChange(event.currentTarget.value)}>
    ${shown.map((each) => html`<option key=${each} value=${each} selected=${each === operator}>${operatorWords(each, term?.Family)}</option>`)}
  </select>`;
}

/** What the key is called, and the switches beside the operator. */
function Notes({ condition, term, set }) {
  const texts = ["text", "name"].includes(term?.Family) && condition.operator !== "Exists";
  const many = term && ["Series", "Instance"].includes(term.Level);
  return html`<div class="condition-notes">
    ${term && html`<span class="muted">${term.Name}${term.Tag && ` (${term.Tag})`}${term.VR && term.Kind === "Tag" ? ` ${term.VR}` : ""}</span>`}
    ${term === null && html`<span class="warn-text">Neither a DICOM keyword nor an attribute.</span>`}
    ${term && !term.Indexed && html`<span class="muted" title="Orthanc's index does not hold it">read from one instance of each series</span>`}
    ${(texts || condition.ignoreCase) &&
    html`<label><input type="checkbox" checked=${condition.ignoreCase === true} onChange=${(event) => set({ ignoreCase: event.currentTarget.checked || undefined })} /> ignore upper and lower case</label>`}
    ${(many || condition.of) &&
    html`<label><input type="checkbox" checked=${condition.of === "All"} onChange=${(event) => set({ of: event.currentTarget.checked ? "All" : undefined })} /> every ${term?.Level === "Series" ? "series" : "value"} must</label>`}
  </div>`;
}

/** Take an entry out of its list; the focus stays near, at the button that adds one. */
export function takeOut(event, remove) {
  const list = event.currentTarget.closest("li").parentElement.parentElement;
  remove();
  setTimeout(() => list.querySelector(":scope > .row-actions button")?.focus());
}

/** Mistakes at their field. */
export function Messages({ id, messages }) {
  if (!messages) return null;
  return html`<div id=${id} class="field-error" role="alert">${messages.map((text) => html`<p><${Icon} name="alert" size=${12} /> ${text}</p>`)}</div>`;
}

export function RawJson({ id, json, errors, children }) {
  return html`<div class="raw-json" data-place=${id}>
    <${Messages} messages=${errors} />
    <p class="muted">${children}</p>
    <pre>${JSON.stringify(json, null, 2)}</pre>
  </div>`;
}
