// SPDX-License-Identifier: AGPL-3.0-or-later
// The history of a rule: what each version changed, and the way back to one.
import { useState } from "preact/hooks";
import { get, path, post } from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { lineDiff } from "../../lib/line-diff.js";
import { useLive } from "../../lib/live.js";
import { href } from "../../lib/route.js";
import { Tag } from "../../parts/badge.js";
import { Button, LinkButton } from "../../parts/button.js";
import { confirm } from "../../parts/dialog.js";
import { PageHead } from "../../parts/layout.js";
import { Failure, Loading } from "../../parts/states.js";
import { Time } from "../../parts/time.js";
import { told } from "../../parts/toast.js";

export function Versions({ name }) {
  const { data, error, loading, refresh } = useLive((options) => get(path`rules/${name}/versions`, {}, options), [name], 0);
  const [current, setCurrent] = useState(false);
  const newest = data?.[0];
  const goBack = async (version) => {
    const body = html`<p>Its text becomes version ${newest.Version + 1}, and is active at once. What would change:</p><${Diff} before=${newest.Rule} after=${version.Rule} />`;
    if (!(await confirm({ title: `Go back to version ${version.Version}?`, body, action: "Go back" }))) return;
    await post(path`rules/${name}/restore`, { Version: version.Version });
    told(`“${name}” is what it was in version ${version.Version}.`);
    await refresh();
  };
  return html`<${PageHead} title=${name} lead="All versions, the newest first" back=${{ href: href(["rules"]), label: "Rules" }}>
      ${newest?.Rule && html`<${LinkButton} href=${href(["rules", "edit", name])} icon="edit">Edit<//>`}
    <//>
    ${error && html`<${Failure} error=${error} retry=${refresh} />`}
    ${loading && !data && html`<${Loading} />`}
    ${data &&
    html`<label class="check"><input type="checkbox" checked=${current} onChange=${(event) => setCurrent(event.currentTarget.checked)} /> show the difference to the rule of now, not to the version before</label>
      <ol class="version-list">
        ${data.map((version, index) => html`<li key=${version.Version} class="card">
          <div class="section-head">
            <h2>Version ${version.Version} ${index === 0 && html`<${Tag}>now<//>`}</h2>
            <div class="aside">
              <${Time} at=${version.MadeAt} as="whole" />${version.MadeBy && html`<span>by ${version.MadeBy}</span>`}
              ${index > 0 && version.Rule && html`<${Button} kind="tight" icon="retry" onClick=${() => goBack(version)}>Go back to this<//>`}
            </div>
          </div>
          <${Change} version=${version} before=${data[index + 1]} newest=${newest} current=${current && index > 0} />
        </li>`)}
      </ol>`}`;
}

function Change({ version, before, newest, current }) {
  if (!version.Rule) return html`<p>The rule was deleted.</p>`;
  if (current) return html`<${Diff} before=${version.Rule} after=${newest.Rule} />`;
  return html`<${Diff} before=${before?.Rule} after=${version.Rule} />`;
}

/** The lines that differ, with some of those around them. Without `before` all of it. */
function Diff({ before, after }) {
  const lines = lineDiff(jsonOf(before), jsonOf(after)).filter((each, index, all) => each.text || all.length === 1);
  if (before && lines.every((each) => each.kind === "same")) return html`<p class="muted">The same text.</p>`;
  const marks = { same: " ", gone: "−", new: "+" };
  const words = { same: "", gone: "removed: ", new: "added: " };
  return html`<pre class="diff" tabindex="0">${lines.map((each) => html`<span class=${before ? each.kind : "same"}>${before ? marks[each.kind] : " "} ${before && each.kind !== "same" && html`<span class="only-read">${words[each.kind]}</span>`}${each.text}${"\n"}</span>`)}</pre>`;
}

const jsonOf = (rule) => (rule ? JSON.stringify(rule, null, 2) : "");
