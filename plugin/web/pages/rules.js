// SPDX-License-Identifier: AGPL-3.0-or-later
// Rules: #/rules is the list, #/rules/new and #/rules/edit/NAME the editor, #/rules/versions/NAME the history of one.
import { html } from "../lib/html.js";
import { href } from "../lib/route.js";
import { PageHead } from "../parts/layout.js";
import { Empty } from "../parts/states.js";
import { Editor } from "./rules/editor.js";
import { RuleList } from "./rules/list.js";
import { Versions } from "./rules/versions.js";

export default function Rules({ parts: [, what, name], query }) {
  if (!what) return html`<${RuleList} />`;
  if (what === "new") return html`<${Editor} key="new ${query.from}" from=${query.from} />`;
  if (what === "edit" && name) return html`<${Editor} key="edit ${name}" name=${name} />`;
  if (what === "versions" && name) return html`<${Versions} key=${name} name=${name} />`;
  return html`<${PageHead} title="Not found" /><${Empty} title="There is no such page."><a href=${href(["rules"])}>Go to the rules</a><//>`;
}
