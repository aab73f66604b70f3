// SPDX-License-Identifier: AGPL-3.0-or-later
// One rule: a form for people and the JSON beside it, each kept in step with the other, and what the rule would do.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, path, post, put } from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { href, navigate } from "../../lib/route.js";
import { emptyRule, fieldOf, placeProblems, readRule, sourceOf, withField, writeRule } from "../../lib/rule-form.js";
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
const TRIGGERS = [
  ["StableStudy", "a study, once no more of it comes"],
  ["StableSeries", "a series, once no more of it comes"],
  ["StablePatient", "a patient's studies, once no more of them comes"],
  ["NewInstance", "each instance, as it comes"],
];
const LEVELS = [["", "what is looked at"], ["Series", "the series"], ["Study", "the study"], ["Patient", "all studies of the patient"]];
const PRIORITIES = [["", "As the destination says"], ["Low", "Low: behind everything else"], ["Normal", "Normal"], ["Urgent", "Urgent: first, at any time"]];
const NO_ERRORS = new Map();

const NEW = "new";
const DRAFT = "dicom-router.rule.";

/** What was typed and not saved: leaving the page or loading it anew loses nothing. {text, version} or null. */
function draftOf(place) {
  try {
    return JSON.parse(sessionStorage.getItem(DRAFT + place));
  } catch {
    return null;
  }
}

function keepDraft(place, draft) {
  try {
    if (draft) sessionStorage.setItem(DRAFT + place, JSON.stringify(draft));
    else sessionStorage.removeItem(DRAFT + place);
  } catch {
    // not allowed here; then it is kept as long as the page is open
  }
}

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
  const { rule, rules } = loaded;
  if (name) return html`<${Form} name=${name} place="edit/${name}" source=${sourceOf(rule)} version=${rule.Version} readOnly=${rule.Origin === "Config"} back=${back} />`;
  const source = rule ? { ...sourceOf(rule), Name: freeName(from, rules) } : emptyRule();
  return html`<${Form} place="${NEW}/${from ?? ""}" source=${source} version=${0} back=${back} />`;
}

function freeName(name, rules) {
  for (let number = 2; ; number += 1) {
    const made = `${name.slice(0, 58)} ${number}`;
    if (!rules.some((each) => each.Name === made)) return made;
  }
}

const jsonOf = (form) => JSON.stringify(writeRule(form).rule, null, 2);

function Form({ name, place, source, back, version, readOnly = false }) {
  const saved = useMemo(() => JSON.stringify(source, null, 2), []);
  const unchanged = () => ({ form: readRule(source), text: saved, mistake: "" });
  const draft = useMemo(() => (readOnly ? null : draftOf(place)), []);
  const [state, setState] = useState(() => (draft ? read(draft.text, unchanged()) : unchanged()));
  const [last, setLast] = useState(25);
  const [refusal, setRefusal] = useState(null); // the problems of a save that was refused
  const page = useRef();
  const { form, text, mistake } = state;
  const written = useMemo(() => writeRule(form), [form]);
  const preview = usePreview(mistake ? null : JSON.stringify(written.rule), last);
  const dirty = text !== saved;

  const base = draft?.version ?? version; // what the changes are made to

  useEffect(() => {
    if (!readOnly) keepDraft(place, dirty ? { text, version: base } : null);
  }, [text]);

  const change = (made) => setState({ form: made, text: jsonOf(made), mistake: "" });
  const set = (field, value) => change(withField(form, field, value));
  const part = (key) => (value) => change({ ...form, [key]: value });
  const type = (typed) => setState(read(typed, state));

  // After a refused save the fields tell what is still wrong, as the preview finds it.
  const found = refusal && (preview.busy || mistake ? refusal : stillWrong(form, refusal, preview.problems));
  const { byPlace, left } = useMemo(() => (found ? placeProblems(found, written.places) : { byPlace: NO_ERRORS, left: [] }), [found, written]);
  const errorOf = (field) => byPlace.get(field)?.join(" ");

  const save = async () => {
    const rule = JSON.parse(text);
    const problems = await problemsOf(rule);
    if (problems.length) return refuse(problems);
    if (name && !(await mayReplace(name, base))) return undefined;
    try {
      const answer = name ? await put(path`rules/${name}`, rule) : await post("rules", rule);
      keepDraft(place, null);
      told(`The rule “${answer.Name}” is saved and active.`);
      navigate(["rules"]);
    } catch (error) {
      if (!(error.status === 400 || error.status === 409)) throw error;
      refuse(error.problems.length ? error.problems : [{ Path: "Name", Message: error.message }]);
    }
  };
  const refuse = (problems) => {
    setRefusal(problems.map((each) => ({ ...each, refused: form.fields.Name ?? "" })));
    setTimeout(() => page.current?.querySelector(".refused")?.focus());
  };
  const discard = async () => {
    if (!(await confirm({ title: "Discard what was changed?", body: "The rule goes back to what is saved.", action: "Discard", kind: "danger" }))) return;
    setRefusal(null);
    setState(unchanged());
  };
  const goTo = (part) => {
    const at = page.current.querySelector(`[data-place="${CSS.escape(part)}"]`);
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
            <${Button} kind="primary" icon="check" onClick=${save} disabled=${Boolean(mistake) || Boolean(name && !dirty)}>Save<//>`}
    <//>
    ${readOnly && html`<${Notice} tone="wait"><p>This rule stands in Orthanc's configuration (<code>Router.Rules</code> of orthanc.json) and can only be read here. To change it, change the file and restart Orthanc.</p><//>`}
    ${refusal && (byPlace.size > 0 || left.length > 0) && html`<${Refusal} byPlace=${byPlace} left=${left} places=${written.places} goTo=${goTo} />`}
    <div class="editor-columns">
      <fieldset class="editor-form" disabled=${readOnly || Boolean(mistake)}>
        <legend class="only-read">The rule</legend>
        ${mistake && html`<${Notice} tone="warn"><p>The JSON has a mistake, so the form waits. Correct it there.</p><//>`}
        <${Section} title="About">
          <div class="fields" data-place="Name">
            <${TextField} label="Name" value=${form.fields.Name ?? ""} onInput=${(value) => set("Name", value)} maxlength="64" readonly=${Boolean(name)} help=${name ? "A rule keeps its name, and its versions with it." : "Letters, digits, spaces, and _ . -"} error=${errorOf("Name")} />
            <${TextField} label="Description" value=${fieldOf(form, "Description")} onInput=${(value) => set("Description", value)} error=${errorOf("Description")} />
          </div>
          <label class="check"><input type="checkbox" checked=${fieldOf(form, "Enabled")} onChange=${(event) => set("Enabled", event.currentTarget.checked)} /> The rule is on</label>
        <//>
        <${Section} title="What it looks at">
          <div class="fields" data-place="Trigger">
            <${SelectField} label="Looks at" value=${fieldOf(form, "Trigger")} options=${TRIGGERS} onChange=${(value) => set("Trigger", value)} error=${errorOf("Trigger")} />
          </div>
          <h3>All of these must hold</h3>
          <${MatchEditor} name="Match" part=${form.match} onChange=${part("match")} errors=${byPlace} empty="No condition: everything matches." />
          <label class="check" data-place="Sample"><input type="checkbox" checked=${fieldOf(form, "Sample") === "Every"} onChange=${(event) => set("Sample", event.currentTarget.checked ? "Every" : "")} /> Read tags outside of Orthanc's index from every instance, not from one of each series (slower)</label>
        <//>
        <${Section} title="Where it sends">
          <${SendEditor} part=${form.send} onChange=${part("send")} errors=${byPlace} />
          <div class="fields" data-place="Level">
            <${SelectField} label="What is sent" value=${fieldOf(form, "Level")} options=${LEVELS} onChange=${(value) => set("Level", value)} error=${errorOf("Level")} />
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
        <${Preview} preview=${preview} last=${last} setLast=${setLast} begun=${dirty || Boolean(name)} />
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

/** Whether the rule is still the version that was changed; else the user decides. */
async function mayReplace(name, base) {
  const { Version } = await get(path`rules/${name}`);
  if (Version === base) return true;
  const body = `You changed version ${base}; meanwhile somebody has saved version ${Version}. Saving replaces it; its text stays among the versions.`;
  return confirm({ title: "The rule has changed meanwhile", body, action: "Replace it", kind: "danger" });
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

/** What is wrong now: what the preview finds, and of the refusal what it does not ask for, a name that is none or taken. */
function stillWrong(form, refusal, found) {
  const name = refusal.filter((each) => each.Path === "Name" && (form.fields.Name ?? "") === each.refused);
  return [...found, ...name.filter((each) => !found.some(({ Path }) => Path === "Name"))];
}

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
