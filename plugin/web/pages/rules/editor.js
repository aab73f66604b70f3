// SPDX-License-Identifier: AGPL-3.0-or-later
// One rule: a form for people and the JSON beside it, each kept in step with the other, and what the rule would do.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, path, post, put } from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { href, navigate } from "../../lib/route.js";
import { emptyRule, fieldOf, placeProblems, readRule, sourceOf, withField, writeRule } from "../../lib/rule-form.js";
import { TRIGGER_WORDS } from "../../lib/rule-words.js";
import { loadDestinations } from "../../lib/vocabulary.js";
import { Button, LinkButton } from "../../parts/button.js";
import { confirm } from "../../parts/dialog.js";
import { Field, SelectField, TextField } from "../../parts/field.js";
import { PageHead, Section } from "../../parts/layout.js";
import { Failure, Loading, Notice } from "../../parts/states.js";
import { told } from "../../parts/toast.js";
import { MatchEditor } from "./match.js";
import { Preview, problemsOf, usePreview } from "./preview.js";
import { ScheduleEditor } from "./schedule.js";
import { SendEditor } from "./send.js";
import { TestsEditor } from "./tests.js";
import { Duration } from "./values.js";

const OWN_FIELDS = ["Name", "Description", "Enabled", "Trigger", "Level", "Sample", "Schedule", "Delay", "Priority", "DeleteAfterSend", "Stop"];
const LEVELS = [["", "what is looked at"], ["Series", "the series"], ["Study", "the study"], ["Patient", "all studies of the patient"]];
const PRIORITIES = [["", "As the destination says"], ["Low", "Low: behind everything else"], ["Normal", "Normal"], ["Urgent", "Urgent: first, at any time"]];
const NO_ERRORS = new Map();

/** What was typed and not saved, by the address of the editor: leaving the page loses nothing. */
const drafts = new Map();

export function Editor({ name, from }) {
  const [loaded, setLoaded] = useState(null);
  const load = async () => {
    try {
      const [rules] = await Promise.all([get("rules"), loadDestinations()]);
      const found = rules.find((each) => each.Name === (name ?? from));
      if (!found && name) throw new Error(`There is no rule “${name}”. It may have been deleted.`);
      setLoaded({ rules, rule: found });
    } catch (error) {
      setLoaded({ error });
    }
  };
  useEffect(() => void load(), []);
  const back = { href: href(["rules"]), label: "Rules" };
  const title = name ?? "New rule";
  if (!loaded) return html`<${PageHead} title=${title} back=${back} /><${Loading} />`;
  if (loaded.error) return html`<${PageHead} title=${title} back=${back} /><${Failure} error=${loaded.error} retry=${load} />`;
  if (loaded.rule?.Origin === "Config" && name) return html`<${Form} name=${name} source=${sourceOf(loaded.rule)} back=${back} readOnly version=${0} />`;
  const copy = !name && loaded.rule ? { ...sourceOf(loaded.rule), Name: freeName(from, loaded.rules) } : null;
  return html`<${Form} name=${name} source=${copy ?? (loaded.rule && sourceOf(loaded.rule)) ?? emptyRule()} back=${back} version=${name ? loaded.rule.Version : 0} />`;
}

function freeName(name, rules) {
  for (let number = 2; ; number += 1) {
    const made = `${name.slice(0, 58)} ${number}`;
    if (!rules.some((each) => each.Name === made)) return made;
  }
}

const jsonOf = (form) => JSON.stringify(writeRule(form).rule, null, 2);

function Form({ name, source, back, version, readOnly = false }) {
  const address = name ?? "";
  const saved = useMemo(() => JSON.stringify(source, null, 2), []);
  const [state, setState] = useState(() => drafts.get(address) ?? { form: readRule(source), text: saved, mistake: "" });
  const [last, setLast] = useState(25);
  const [refusal, setRefusal] = useState(null); // the problems of a save that was refused
  const page = useRef();
  const { form, text, mistake } = state;
  const written = useMemo(() => writeRule(form), [form]);
  const preview = usePreview(mistake ? null : JSON.stringify(written.rule), last);
  const dirty = text !== saved;

  useEffect(() => {
    if (dirty && !readOnly) drafts.set(address, state);
    else drafts.delete(address);
  }, [state]);
  useEffect(() => {
    const ask = (event) => drafts.size && event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, []);

  const change = (made) => setState({ form: made, text: jsonOf(made), mistake: "" });
  const set = (field, value) => change(withField(form, field, value));
  const part = (key) => (value) => change({ ...form, [key]: value });
  const type = (typed) => setState(read(typed, state));

  // After a refused save the fields tell what is still wrong, as the preview finds it.
  const found = refusal && (preview.busy || mistake ? refusal : [...preview.problems, ...unnamed(form, refusal)]);
  const { byPlace, left } = useMemo(() => (found ? placeProblems(found, written.places) : { byPlace: NO_ERRORS, left: [] }), [found, written]);
  const errorOf = (field) => byPlace.get(field)?.join(" ");

  const save = async () => {
    const rule = JSON.parse(text);
    const problems = await problemsOf(rule);
    if (problems.length) return refuse(problems);
    try {
      const answer = name ? await put(path`rules/${name}`, rule) : await post("rules", rule);
      drafts.delete(address);
      told(`The rule “${answer.Name}” is saved and active.`);
      navigate(["rules"]);
    } catch (error) {
      if (!(error.status === 400 || error.status === 409)) throw error;
      refuse(error.problems.length ? error.problems : [{ Path: "Name", Message: error.message }]);
    }
  };
  const refuse = (problems) => {
    setRefusal(problems.map((each) => ({ ...each, refused: form.fields.Name })));
    setTimeout(() => page.current?.querySelector(".refused")?.focus());
  };
  const discard = async () => {
    if (!(await confirm({ title: "Discard what was changed?", body: "The rule goes back to what is saved.", action: "Discard", kind: "danger" }))) return;
    drafts.delete(address);
    setRefusal(null);
    setState({ form: readRule(source), text: saved, mistake: "" });
  };
  const goTo = (place) => {
    const at = page.current.querySelector(`[data-place="${CSS.escape(place)}"]`);
    at?.scrollIntoView({ block: "center" });
    at?.querySelector("input, select, textarea, button")?.focus({ preventScroll: true });
  };
  const others = Object.fromEntries(Object.entries(form.fields).filter(([field]) => !OWN_FIELDS.includes(field)));

  return html`<div ref=${page} class="editor">
    <${PageHead} title=${name ?? "New rule"} back=${back} lead=${lead(readOnly, version, dirty, name)}>
      ${readOnly
        ? html`<${LinkButton} href=${href(["rules", "new"], { from: name })} icon="copy">Copy to a new rule<//>`
        : html`${name && html`<${LinkButton} href=${href(["rules", "versions", name])} icon="clock">Versions<//>`}
            <${Button} onClick=${discard} disabled=${!dirty}>Discard<//>
            <${Button} kind="primary" icon="check" onClick=${save} disabled=${Boolean(mistake)}>Save<//>`}
    <//>
    ${readOnly && html`<${Notice} tone="wait"><p>This rule stands in Orthanc's configuration (<code>Router.Rules</code> of orthanc.json) and can only be read here. To change it, change the file and restart Orthanc.</p><//>`}
    ${refusal && (byPlace.size > 0 || left.length > 0) && html`<${Refusal} byPlace=${byPlace} left=${left} places=${written.places} goTo=${goTo} />`}
    <div class="editor-columns">
      <fieldset class="editor-form" disabled=${readOnly || Boolean(mistake)}>
        <legend class="only-read">The rule</legend>
        ${mistake && html`<${Notice} tone="warn"><p>The JSON has a mistake, so the form waits. Correct it there.</p><//>`}
        <${Section} title="Name">
          <div class="fields" data-place="Name">
            <${TextField} label="Name" value=${form.fields.Name ?? ""} onInput=${(value) => set("Name", value)} maxlength="64" readonly=${Boolean(name)} help=${name ? "A rule keeps its name, and its versions with it." : "Letters, digits, spaces, and _ . -"} error=${errorOf("Name")} />
            <${TextField} label="Description" value=${fieldOf(form, "Description")} onInput=${(value) => set("Description", value)} error=${errorOf("Description")} />
          </div>
          <label class="check"><input type="checkbox" checked=${fieldOf(form, "Enabled")} onChange=${(event) => set("Enabled", event.currentTarget.checked)} /> The rule is on</label>
        <//>
        <${Section} title="What it looks at">
          <div class="fields" data-place="Trigger">
            <${SelectField} label="When complete" value=${fieldOf(form, "Trigger")} options=${Object.entries(TRIGGER_WORDS)} onChange=${(value) => set("Trigger", value)} error=${errorOf("Trigger")} />
          </div>
          <h3>All of these must hold</h3>
          <${MatchEditor} name="Match" part=${form.match} onChange=${part("match")} errors=${byPlace} empty="No condition: everything matches." />
          <label class="check" data-place="Sample"><input type="checkbox" checked=${fieldOf(form, "Sample") === "Every"} onChange=${(event) => set("Sample", event.currentTarget.checked ? "Every" : "")} /> Read tags outside of Orthanc's index from every instance, not from one of each series (slower)</label>
        <//>
        <${Section} title="Where it sends">
          <${SendEditor} part=${form.send} onChange=${part("send")} errors=${byPlace} />
          <div class="fields" data-place="Level">
            <${SelectField} label="Sends" value=${fieldOf(form, "Level")} options=${LEVELS} onChange=${(value) => set("Level", value)} error=${errorOf("Level")} />
          </div>
          <details open=${!form.instances.form || form.instances.form.items.length > 0}>
            <summary>Only some instances</summary>
            <${MatchEditor} name="Instances" part=${form.instances} onChange=${part("instances")} errors=${byPlace} empty="No condition: all instances are sent." />
          </details>
        <//>
        <${Section} title="When it sends">
          <div class="fields">
            <${ScheduleEditor} schedule=${fieldOf(form, "Schedule")} onChange=${(value) => set("Schedule", value)} error=${errorOf("Schedule")} />
            <div data-place="Delay">
              <${Field} label="Wait before sending" error=${errorOf("Delay")} control=${(attributes) => html`<${Duration} label="Wait before sending" value=${fieldOf(form, "Delay")} onChange=${(value) => set("Delay", value.startsWith("0") && !form.order.includes("Delay") && Number.parseFloat(value) === 0 ? "" : value)} attributes=${attributes} />`} />
            </div>
            <div data-place="Priority">
              <${SelectField} label="Priority" value=${fieldOf(form, "Priority")} options=${PRIORITIES} onChange=${(value) => set("Priority", value)} error=${errorOf("Priority")} />
            </div>
          </div>
        <//>
        <${Section} title="Afterwards">
          <label class="check" data-place="DeleteAfterSend"><input type="checkbox" checked=${fieldOf(form, "DeleteAfterSend")} onChange=${(event) => set("DeleteAfterSend", event.currentTarget.checked)} /> Delete it in Orthanc once all destinations have it</label>
          ${errorOf("DeleteAfterSend") && html`<p class="field-error" role="alert">${errorOf("DeleteAfterSend")}</p>`}
          <label class="check" data-place="Stop"><input type="checkbox" checked=${fieldOf(form, "Stop")} onChange=${(event) => set("Stop", event.currentTarget.checked)} /> Stop here: later rules are not looked at when this one matches</label>
        <//>
        <${Section} title="Tests"><${TestsEditor} part=${form.tests} onChange=${part("tests")} errors=${byPlace} /><//>
        ${Object.keys(others).length > 0 && html`<${Section} title="Also in this rule"><p class="muted">The form has no fields for this; it is kept, and can be changed in the JSON.</p><pre>${JSON.stringify(others, null, 2)}</pre><//>`}
      </fieldset>
      <div class="editor-side">
        <${Preview} preview=${preview} last=${last} setLast=${setLast} />
        <section class="card" aria-label="JSON">
          <div class="section-head"><h2>JSON</h2><div class="aside">as in orthanc.json</div></div>
          <textarea class="json mono" aria-label="The rule as JSON" spellcheck=${false} rows=${Math.min(30, text.split("\n").length + 1)} readonly=${readOnly} aria-invalid=${mistake ? "true" : undefined} value=${text} onInput=${(event) => type(event.currentTarget.value)}></textarea>
          ${mistake && html`<p class="field-error" role="alert">${mistake}</p>
            <div class="row-actions"><${Button} kind="tight" onClick=${() => change(form)}>Back to what the form says<//></div>`}
        </section>
      </div>
    </div>
  </div>`;
}

/** The state after typing into the JSON; the form stays as it was while that is no rule. */
function read(typed, state) {
  let rule;
  try {
    rule = JSON.parse(typed);
  } catch (error) {
    return { ...state, text: typed, mistake: `This is no JSON: ${error.message}` };
  }
  if (typeof rule !== "object" || rule === null || Array.isArray(rule)) return { ...state, text: typed, mistake: "A rule is an object: { … }." };
  return { form: readRule(rule), text: typed, mistake: "" };
}

/** Of what a save was refused for, what the preview does not ask for: the name, while it is empty or still the taken one. */
const unnamed = (form, refusal) => refusal.filter((each) => each.Path === "Name" && (form.fields.Name ?? "") === (each.refused ?? ""));

function lead(readOnly, version, dirty, name) {
  if (readOnly) return "From Orthanc's configuration";
  if (dirty) return "Changed, not saved yet";
  return name ? `Version ${version}` : "Not saved yet";
}

function Refusal({ byPlace, left, places, goTo }) {
  const pathOf = (place) => places.find(([, each]) => each === place)?.[0] ?? "";
  return html`<div class="refused" tabindex="-1" role="alert">
    <${Notice} tone="bad">
      <strong>The rule was not saved. Nothing is lost: correct what is marked and save again.</strong>
      <ul class="problems">
        ${[...byPlace].map(([place, messages]) => html`<li><button type="button" class="link" onClick=${() => goTo(place)}><code>${pathOf(place)}</code></button> <span>${messages.join(" ")}</span></li>`)}
        ${left.map((each) => html`<li><code>${each.Path}</code> <span>${each.Message}</span></li>`)}
      </ul>
    <//>
  </div>`;
}
