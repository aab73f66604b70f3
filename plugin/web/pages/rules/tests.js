// SPDX-License-Identifier: AGPL-3.0-or-later
// Examples that a rule carries: what it shall match, and what not.
import { html } from "../../lib/html.js";
import { newGiven, newTest } from "../../lib/rule-form.js";
import { findKeys, termOf } from "../../lib/vocabulary.js";
import { Button } from "../../parts/button.js";
import { Combobox } from "../../parts/combobox.js";
import { Messages, RawJson, takeOut } from "./match.js";
import { Values } from "./values.js";

export function TestsEditor({ part, onChange, errors }) {
  if (!part.form) return html`<${RawJson} id="Tests" json=${part.json} errors=${errors.get("Tests")}>This is no list; change it in the JSON.<//>`;
  const tests = part.form;
  const change = (id, made) => onChange({ form: tests.map((each) => (each.id === id ? made : each)).filter(Boolean) });
  return html`<div data-place="Tests">
    <${Messages} messages=${errors.get("Tests")} />
    <p class="muted small">A rule is not saved while one of its tests fails.</p>
    <ul class="condition-list">
      ${tests.map((test) => html`<li key=${test.id}><${Test} test=${test} change=${(made) => change(test.id, made)} errors=${errors} /></li>`)}
    </ul>
    <div class="row-actions"><${Button} kind="tight" icon="plus" onClick=${() => onChange({ form: [...tests, newTest()] })}>Test<//></div>
  </div>`;
}

function Test({ test, change, errors }) {
  const remove = html`<${Button} kind="quiet" icon="trash" label="Remove this test" onClick=${(event) => takeOut(event, () => change(null))} />`;
  if ("json" in test) return html`<${RawJson} id=${test.id} json=${test.json} errors=${errors.get(test.id)}>The form has no fields for this test. ${remove}<//>`;
  const setGiven = (id, values) => change({ ...test, given: test.given.map((each) => (each.id === id ? values && { ...each, ...values } : each)).filter(Boolean) });
  return html`<div class="condition" data-place=${test.id}>
    <div class="test-head">
      <span>A study with these values</span>
      <select aria-label="Expected" onChange=${(event) => change({ ...test, expect: event.currentTarget.value === "yes" })}>
        <option value="yes" selected=${test.expect}>must match</option>
        <option value="no" selected=${!test.expect}>must not match</option>
      </select>
      ${remove}
    </div>
    ${test.given.map(
      (given) => html`<div key=${given.id} class="condition-row">
        <div class="condition-key"><${Combobox} label="Tag or attribute" value=${given.key} onPick=${(key) => setGiven(given.id, { key })} load=${findKeys} placeholder="Tag, like Modality" /></div>
        <div class="condition-value">
          <${Values} label="Values" values=${given.values} keyName=${given.key} family=${termOf(given.key)?.Family} onChange=${(values) => setGiven(given.id, { values })} />
        </div>
        <${Button} kind="quiet" icon="close" label="Remove ${given.key || "this value"}" onClick=${() => setGiven(given.id, null)} />
      </div>`,
    )}
    <div class="row-actions"><${Button} kind="tight quiet" icon="plus" onClick=${() => change({ ...test, given: [...test.given, newGiven()] })}>Value<//></div>
    <${Messages} messages=${errors.get(test.id)} />
  </div>`;
}
