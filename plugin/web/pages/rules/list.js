// SPDX-License-Identifier: AGPL-3.0-or-later
// All rules in the order in which they are looked at.
import { useRef, useState } from "preact/hooks";
import { del, get, path, post, put } from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { useLive } from "../../lib/live.js";
import { href } from "../../lib/route.js";
import { sourceOf } from "../../lib/rule-form.js";
import { ruleWords } from "../../lib/rule-words.js";
import { isSuspended } from "../../lib/status.js";
import { plural } from "../../lib/words.js";
import { Tag } from "../../parts/badge.js";
import { Button, LinkButton } from "../../parts/button.js";
import { confirm, Dialog } from "../../parts/dialog.js";
import { Icon } from "../../parts/icons.js";
import { PageHead } from "../../parts/layout.js";
import { Empty, Failure, Loading, Notice, ProblemList } from "../../parts/states.js";
import { failed, told } from "../../parts/toast.js";

export function RuleList() {
  const { data, error, loading, refresh } = useLive((options) => get("rules", {}, options), [], 10);
  const [moved, setMoved] = useState(null); // the order while it is being saved
  const [deleted, setDeleted] = useState(null);
  const [importing, setImporting] = useState(null);
  const [spoken, setSpoken] = useState("");
  const rules = moved ?? data ?? [];
  const fixed = rules.filter((each) => each.Origin === "Config");
  const own = rules.filter((each) => each.Origin === "Database");

  const order = async (names) => {
    const byName = new Map(own.map((each) => [each.Name, each]));
    setMoved([...fixed, ...names.map((name) => byName.get(name))]);
    try {
      await put("rules-order", names);
      await refresh();
    } catch (problem) {
      failed(problem);
    } finally {
      setMoved(null);
    }
  };
  const move = (name, to) => {
    const names = own.map((each) => each.Name);
    const from = names.indexOf(name);
    const place = Math.max(0, Math.min(names.length - 1, to));
    if (place === from) return;
    names.splice(place, 0, ...names.splice(from, 1));
    setSpoken(`${name} is now rule ${fixed.length + place + 1} of ${rules.length}.`);
    order(names);
  };
  const remove = async (rule) => {
    const body = "What it has decided and sent stays in the history. It can be brought back.";
    if (!(await confirm({ title: `Delete the rule “${rule.Name}”?`, body, action: "Delete", kind: "danger" }))) return;
    await del(path`rules/${rule.Name}`);
    setDeleted({ ...rule, order: own.map((each) => each.Name) });
    await refresh();
  };
  const bringBack = async () => {
    await post(path`rules/${deleted.Name}/restore`, { Version: deleted.Version });
    const isAsBefore = own.length + 1 === deleted.order.length && own.every((each) => deleted.order.includes(each.Name));
    if (isAsBefore) await put("rules-order", deleted.order);
    setDeleted(null);
    await refresh();
  };
  const choose = async (event) => {
    const [file] = event.currentTarget.files;
    event.currentTarget.value = "";
    if (file) setImporting({ name: file.name, ...rulesOf(await file.text()) });
  };

  return html`<${PageHead} title="Rules" lead="Looked at in this order. All that match apply, until one says stop.">
      <${Button} icon="down" onClick=${exportRules} disabled=${!rules.length}>Export<//>
      <label class="button"><${Icon} name="up" /><span>Import</span><input type="file" class="only-read" accept=".json,application/json" aria-label="Import rules from a file" onChange=${choose} /></label>
      <${LinkButton} href=${href(["rules", "new"])} icon="plus" kind="primary">New rule<//>
    <//>
    ${error && html`<${Failure} error=${error} retry=${refresh} />`}
    ${deleted && html`<${Notice} tone="wait"><p>The rule “${deleted.Name}” is deleted. <${Button} kind="tight" icon="retry" onClick=${bringBack}>Bring it back<//></p><//>`}
    ${isSuspended() && html`<${Notice} tone="warn"><p>Routing is suspended, and rules of Orthanc's configuration may be missing here. <a href=${href([])}>What is wrong</a></p><//>`}
    ${loading && !data && html`<${Loading} />`}
    ${data && !rules.length && html`<${Empty} icon="rules" title="There is no rule yet, so nothing is sent.">
      <p>A rule says which studies go where.</p><p><a href=${href(["rules", "new"])}>Write the first rule</a></p>
    <//>`}
    <p class="only-read" role="status" aria-live="polite">${spoken}</p>
    ${rules.length > 0 && html`<ol class="rule-list">
      ${rules.map((rule, index) => html`<${RuleRow} key=${rule.Name} rule=${rule} number=${index + 1} place=${own.indexOf(rule)} count=${own.length} move=${move} remove=${remove} refresh=${refresh} />`)}
    </ol>`}
    ${own.length > 1 && html`<p class="muted small">To change the order drag a rule by its handle, or press the arrow keys on the handle. Rules of Orthanc's configuration stay in front.</p>`}
    ${importing && html`<${Import} file=${importing} rules=${rules} onClose=${() => setImporting(null)} refresh=${refresh} />`}`;
}

let dragged = null; // the name of the rule that is on its way

function RuleRow({ rule, number, place, count, move, remove, refresh }) {
  const row = useRef();
  const [over, setOver] = useState(false);
  const own = rule.Origin === "Database";
  const words = ruleWords(rule);
  const off = rule.Enabled === false;
  const onKeyDown = (event) => {
    const to = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: count - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(rule.Name, to);
    requestAnimationFrame(() => row.current?.querySelector(".handle")?.focus());
  };
  const toggle = async (event) => {
    const on = event.currentTarget.checked;
    const { Enabled: _, ...others } = sourceOf(rule);
    try {
      await put(path`rules/${rule.Name}`, on ? others : { ...others, Enabled: false });
    } catch (problem) {
      failed(problem);
    }
    refresh();
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    if (dragged && dragged !== rule.Name) move(dragged, place);
  };
  const target = own && {
    onDragOver: (event) => dragged && (event.preventDefault(), setOver(true)),
    onDragLeave: () => setOver(false),
    onDrop: drop,
  };
  return html`<li ref=${row} class="rule-row ${off ? "is-off" : ""} ${over ? "is-over" : ""}" data-rule=${rule.Name} ...${target}>
    <div class="rule-place">
      ${own
        ? html`<button type="button" class="handle" draggable=${true} aria-label="Move ${rule.Name}: rule ${number}. Use the arrow keys" title="Drag, or press the arrow keys"
            onDragStart=${(event) => ((dragged = rule.Name), event.dataTransfer.setDragImage(row.current, 20, 20), (event.dataTransfer.effectAllowed = "move"))}
            onDragEnd=${() => (dragged = null)} onKeyDown=${onKeyDown}><${Icon} name="grip" /></button>
            <span class="steps">
              <button type="button" aria-label="Move up: ${rule.Name}" title="Move up" disabled=${place === 0} onClick=${() => move(rule.Name, place - 1)}><${Icon} name="up" size=${12} /></button>
              <button type="button" aria-label="Move down: ${rule.Name}" title="Move down" disabled=${place === count - 1} onClick=${() => move(rule.Name, place + 1)}><${Icon} name="down" size=${12} /></button>
            </span>`
        : html`<span class="handle fixed" aria-hidden="true"></span><span class="steps" aria-hidden="true"></span>`}
      <span class="rule-number">${number}</span>
    </div>
    <div class="rule-main">
      <h2><a href=${href(["rules", "edit", rule.Name])}>${rule.Name}</a> ${!own && html`<${Tag}>orthanc.json<//>`} ${own && html`<span class="muted small">version ${rule.Version}</span>`}</h2>
      ${rule.Description && html`<p class="muted">${rule.Description}</p>`}
      <p>${words.when} <${Icon} name="arrow" size=${13} /> <span class="only-read">goes to</span> <strong>${words.what || "nowhere"}</strong></p>
      ${words.how && html`<p class="muted small">${words.how}</p>`}
      <p class="muted small">
        <a href=${href(["history"], { rule: rule.Name })}>Its deliveries</a>
        ${!own && " · Read-only: it stands in Orthanc's configuration; change it there and restart Orthanc."}
      </p>
      ${rule.Warnings.length > 0 && html`<div class="rule-warnings"><${Icon} name="alert" size=${14} /><div><span class="only-read">Warnings:</span><${ProblemList} problems=${rule.Warnings} /></div></div>`}
    </div>
    <div class="rule-actions">
      <label class="switch"><input type="checkbox" role="switch" checked=${!off} disabled=${!own} onChange=${toggle} aria-label="${rule.Name} is on" /><span aria-hidden="true">${off ? "Off" : "On"}</span></label>
      ${own && html`<a class="button quiet only-icon" href=${href(["rules", "versions", rule.Name])} aria-label="Versions of ${rule.Name}" title="Versions"><${Icon} name="clock" /></a>`}
      <a class="button quiet only-icon" href=${href(["rules", "new"], { from: rule.Name })} aria-label="Copy ${rule.Name}" title="Copy to a new rule"><${Icon} name="copy" /></a>
      ${own && html`<${Button} kind="quiet" icon="trash" label="Delete ${rule.Name}" onClick=${() => remove(rule)} />`}
    </div>
  </li>`;
}

async function exportRules() {
  const { Rules } = await get("rules-export");
  const file = new Blob([`${JSON.stringify({ Rules }, null, 2)}\n`], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `rules-${new Date().toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** {rules} of a file: an export, a section Router, a whole orthanc.json, or a bare list; or {mistake}. */
function rulesOf(text) {
  let json;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return { mistake: `This file is no JSON: ${error.message}` };
  }
  const rules = Array.isArray(json) ? json : (json?.Router?.Rules ?? json?.Rules);
  if (!Array.isArray(rules)) return { mistake: "This file holds no rules: { \"Rules\": [ … ] } is expected." };
  return { rules };
}

function Import({ file, rules, onClose, refresh }) {
  const [replace, setReplace] = useState(false);
  const [error, setError] = useState(null);
  const names = (file.rules ?? []).map((each) => each?.Name);
  const taken = names.filter((name) => rules.some((each) => each.Name === name && each.Origin === "Database"));
  const gone = replace ? rules.filter((each) => each.Origin === "Database" && !names.includes(each.Name)) : [];
  const start = async () => {
    try {
      await post("rules-import", { Rules: file.rules, Replace: replace });
      told(`${plural(file.rules.length, "rule")} imported.`);
      onClose();
      refresh();
    } catch (problem) {
      setError(problem);
    }
  };
  const actions = html`<${Button} onClick=${onClose}>Cancel<//><${Button} kind="primary" onClick=${start} disabled=${!file.rules?.length}>Import<//>`;
  return html`<${Dialog} title="Import ${file.name}" onClose=${onClose} actions=${actions}>
    ${file.mistake && html`<${Notice} tone="bad">${file.mistake}<//>`}
    ${file.rules && html`<p>${plural(file.rules.length, "rule")}: ${names.join(", ")}.</p>
      ${taken.length > 0 && html`<p class="muted">A new version of: ${taken.join(", ")}.</p>`}
      <label class="check"><input type="checkbox" checked=${replace} onChange=${(event) => setReplace(event.currentTarget.checked)} /> Delete the other rules that were made here</label>
      ${gone.length > 0 && html`<p class="muted">Deleted: ${gone.map((each) => each.Name).join(", ")}. They can be brought back.</p>`}`}
    ${error && html`<${Failure} error=${error} />`}
  <//>`;
}
