// SPDX-License-Identifier: AGPL-3.0-or-later
// What each rule said about a study, and each of its conditions.
import { html } from "../../lib/html.js";
import { href } from "../../lib/route.js";
import { Icon } from "../../parts/icons.js";

/** `rules`: the verdicts of REST, in the order of the rules. */
export function Verdicts({ rules }) {
  return html`<ol class="verdicts">${rules.map((each, index) => html`<${Verdict} key=${index} verdict=${each} />`)}</ol>`;
}

function Verdict({ verdict }) {
  const { Rule, Matched, Send, Skipped, Failed, Entries } = verdict;
  const [tone, icon, word] = Skipped !== undefined ? ["off", "stop", "not looked at"] : Matched ? ["good", "check", "matches"] : ["off", "close", "does not match"];
  return html`<li>
    <p class="verdict-head">
      <span class="mark ${tone}"><${Icon} name=${icon} size=${12} /></span>
      <strong><a href=${href(["rules", "edit", Rule])}>${Rule}</a></strong>
      <span class="muted">${word}</span>
      ${Matched && Send.length > 0 && html`<span><${Icon} name="arrow" size=${12} /> ${Send.join(", ")}</span>`}
    </p>
    ${Skipped && html`<p class="verdict-more">${Skipped}</p>`}
    ${!Matched && Failed && html`<p class="verdict-more">${condition(Failed)}</p>`}
    ${Entries?.length > 0 && html`<details class="verdict-more"><summary>${Entries.length === 1 ? "The condition" : `All ${Entries.length} conditions`}</summary>
      <ul class="conditions">${Entries.map((each, index) => html`<${Condition} key=${index} entry=${each} />`)}</ul>
    </details>`}
  </li>`;
}

function Condition({ entry }) {
  return html`<li>
    <span class="mark ${entry.Matched ? "good" : "bad"}"><${Icon} name=${entry.Matched ? "check" : "close"} size=${12} /></span>
    <span class="only-read">${entry.Matched ? "holds:" : "does not hold:"}</span> ${condition(entry)}
  </li>`;
}

/** An entry of Match in words, with what was seen. */
function condition(entry) {
  const { Path, Operator, Expected, Seen, Hidden, Matched } = entry;
  const key = Path.endsWith(`.${Operator}`) ? Path.slice(0, -Operator.length - 1) : Path;
  return html`<code>${key}</code> ${WORDS[Operator] ?? Operator} ${GROUPS.has(Operator) ? "" : html`<q>${text(Expected)}</q>`}${" "}
    <span class="muted">${Hidden ? "(what was seen is about the patient and not kept)" : seen(Seen ?? [], Matched)}</span>`;
}

const GROUPS = new Set(["Any", "All", "None"]);
const WORDS = {
  Equals: "must be",
  In: "must be one of",
  NotEquals: "must not be",
  NotIn: "must be none of",
  Contains: "must contain",
  NotContains: "must not contain",
  StartsWith: "must start with",
  EndsWith: "must end with",
  Wildcard: "must be like",
  Regex: "must match",
  Lt: "must be below",
  Le: "must be at most",
  Gt: "must be above",
  Ge: "must be at least",
  Between: "must lie between",
  NewerThan: "must be newer than",
  OlderThan: "must be older than",
  Exists: "must be there:",
  Any: "at least one of its conditions must hold",
  All: "all of its conditions must hold",
  None: "none of its conditions may hold",
};

function seen(values, matched) {
  const found = values.filter((each) => each !== null);
  if (!found.length) return matched ? "" : "and it has no value";
  return html`${matched ? "and" : "but"} it is <q>${text(found)}</q>`;
}

const text = (value) => {
  if (Array.isArray(value)) return value.map(text).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
};
