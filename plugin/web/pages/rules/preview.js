// SPDX-License-Identifier: AGPL-3.0-or-later
// What a rule would do with the last studies, asked for while it is being written.
import { useEffect, useRef, useState } from "preact/hooks";
import { post } from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { href } from "../../lib/route.js";
import { labelWords } from "../../lib/rule-words.js";
import { isSuspended } from "../../lib/status.js";
import { dicomDate } from "../../lib/time.js";
import { destinations } from "../../lib/vocabulary.js";
import { personName, plural } from "../../lib/words.js";
import { Icon } from "../../parts/icons.js";
import { Notice, ProblemList } from "../../parts/states.js";

const WAIT_MILLISECONDS = 450;
const NO_NAME = 'There is no destination "".';
const COUNTS = [25, 100, 500];

/**
 * {answer, problems, error, busy} of a rule as JSON text: what /router/rules-preview answers, and what is wrong with the
 * rule; `answer` stays while the rule has problems or a new answer comes.
 */
export function usePreview(text, last) {
  const [state, setState] = useState({ answer: null, problems: [], error: null, busy: true });
  const round = useRef(0);
  const asking = useRef(Promise.resolve());
  useEffect(() => {
    if (text === null) return undefined;
    const own = (round.current += 1);
    const isLatest = () => own === round.current;
    setState((old) => ({ ...old, busy: true }));
    const ask = async () => {
      if (!isLatest()) return; // others came while the one before was being answered
      const rule = JSON.parse(text);
      const told = await tryRule(rule.Name ? rule : { ...rule, Name: "Preview" }, last);
      if (isLatest()) setState((old) => ({ ...old, ...told, busy: false }));
    };
    // One at a time: a preview of many studies takes a while.
    const timer = setTimeout(() => (asking.current = asking.current.then(ask)), WAIT_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [text, last]);
  return state;
}

async function tryRule(rule, last) {
  try {
    const problems = await problemsOf(rule);
    if (isSuspended()) return { problems, error: null };
    if (!problems.length) return { answer: await post("rules-preview", { Rule: rule, Last: last }), problems, error: null };
    // Which studies match can be seen before it is said where they go.
    const [anywhere] = destinations.value;
    if (!anywhere || problems.some((each) => !each.Path.startsWith("Send"))) return { problems, error: null };
    const answer = await post("rules-preview", { Rule: { ...rule, Send: [anywhere.Name] }, Last: last });
    return { answer: { ...answer, nowhere: true }, problems, error: null };
  } catch (error) {
    return { error };
  }
}

/** What would refuse the rule; it is asked for first, so that an unfinished rule is no failed request. */
export async function problemsOf(rule) {
  return (await post("rules-check", { Rules: [rule] })).Problems.map((each) => ({ ...each, Path: each.Path.replace(/^Rules\[0\]\.?/, ""), Message: each.Message === NO_NAME ? "Choose a destination." : each.Message }));
}

/** `begun`: something was typed; an empty form need not be told what it lacks. */
export function Preview({ preview: { answer, problems, error, busy }, last, setLast, begun }) {
  const [all, setAll] = useState(false);
  const items = answer?.Items ?? [];
  const shown = all ? items : items.filter((each) => each.Matched);
  return html`<section class="card preview" aria-label="Preview" aria-busy=${busy ? "true" : undefined}>
    <div class="section-head">
      <h2>Preview</h2>
      <div class="aside">
        ${busy && html`<span class="spinner" aria-hidden="true"></span>`}
        <select aria-label="On how many studies" onChange=${(event) => setLast(Number(event.currentTarget.value))}>
          ${COUNTS.map((count) => html`<option key=${count} value=${count} selected=${count === last}>last ${count} studies</option>`)}
        </select>
      </div>
    </div>
    ${error && html`<${Notice} tone="warn"><strong>${error.message}</strong><${ProblemList} problems=${error.problems} /><//>`}
    ${!begun && !answer && !error && html`<p class="muted">What the rule would do with the last studies is shown here while you write it.</p>`}
    ${begun && !error && problems.length > 0 && html`<${Notice} tone="warn"><strong>This rule cannot be saved yet.</strong><${ProblemList} problems=${problems} /><//>`}
    ${!answer && isSuspended() && html`<p class="muted">Routing is suspended, so no study can be tried. Whether the rule can be saved is checked all the same.</p>`}
    ${answer && html`<div class="preview-body ${error || (problems.length && !answer.nowhere) ? "stale" : ""}">
      <p class="preview-sum" aria-live="polite">
        ${items.length ? html`<strong>${answer.Matched}</strong> of the last ${plural(items.length, "study", "studies")} ${answer.Matched === 1 ? "matches" : "match"}.` : "Orthanc has not received a study yet."}
      </p>
      ${!answer.nowhere && html`<${Difference} answer=${answer} />`}
      ${!answer.nowhere && answer.Warnings.length > 0 && html`<${Notice} tone="warn"><${ProblemList} problems=${answer.Warnings} /><//>`}
      ${items.length > 0 &&
      html`<label class="check"><input type="checkbox" checked=${all} onChange=${(event) => setAll(event.currentTarget.checked)} /> show those that do not match too</label>
        <ul class="preview-list" tabindex="0" aria-label="Studies">
          ${shown.map((item) => html`<${Item} key=${item.Study} item=${item} nowhere=${answer.nowhere} />`)}
          ${!shown.length && html`<li class="muted">No study matches.</li>`}
        </ul>`}
    </div>`}
  </section>`;
}

function Difference({ answer }) {
  if (!answer.Items.length) return null;
  if (!answer.Sentences.length) return html`<p class="muted small">Nothing would be sent otherwise than by the rules of now.</p>`;
  return html`<ul class="difference">
    ${answer.Difference.map((each) => html`<li class=${each.Change}><${Icon} name=${{ New: "plus", NoLonger: "close", Otherwise: "edit" }[each.Change]} size=${12} /> ${each.Sentence}</li>`)}
  </ul>`;
}

function Item({ item, nowhere }) {
  const name = personName(item.PatientName) || item.PatientID || "Study";
  const what = [item.Modalities.join(", "), item.StudyDescription, dicomDate(item.StudyDate)].filter(Boolean).join(" · ");
  return html`<li class="preview-item">
    <span class="preview-mark ${item.Matched ? "good" : "off"}" title=${item.Matched ? "It matches" : "It does not match"}><${Icon} name=${item.Matched ? "check" : "close"} size=${12} /></span>
    <div>
      <p><a href=${href(["studies", item.Study])}>${name}</a> <span class="only-read">${item.Matched ? "matches" : "does not match"}</span></p>
      <p class="muted small">${what}</p>
      ${item.Matched
        ? !nowhere && html`<p class="small">${item.Send.length ? item.Send.map((each) => `${labelWords(each.Destination)} (${plural(each.InstancesCount, "instance")})`).join(", ") : "Nothing is sent: another rule sends it already, or no instance is chosen."}</p>`
        : html`<p class="small">${item.Sentence}</p>`}
    </div>
  </li>`;
}
