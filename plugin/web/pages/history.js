// SPDX-License-Identifier: AGPL-3.0-or-later
// All deliveries, newest first, as the address filters them.
import { get } from "../lib/api.js";
import { countInWords, filterOf, inWords } from "../lib/filter.js";
import { html } from "../lib/html.js";
import { useLive } from "../lib/live.js";
import { href, navigate } from "../lib/route.js";
import { Button, LinkButton } from "../parts/button.js";
import { COLUMNS } from "../parts/delivery.js";
import { PageHead } from "../parts/layout.js";
import { Empty, Failure, Loading } from "../parts/states.js";
import { Table } from "../parts/table.js";
import { told } from "../parts/toast.js";
import { Bulk } from "./history/bulk.js";
import { Filters } from "./history/filters.js";

const PAGE = 50;

export default function History({ query }) {
  const filter = filterOf(query);
  const asked = { ...filter, cursor: query.cursor, limit: PAGE };
  const { data, error, loading, refresh } = useLive(({ signal }) => get("history", asked, { signal }), ["history", asked], 4);
  // Typing must not fill the browser's history; a choice is a step that one can go back.
  const change = (values, { typed = false } = {}) => navigate(["history"], { ...filter, ...values }, { replace: typed });
  const share = async () => {
    await navigator.clipboard.writeText(location.href);
    told("The link is in the clipboard. It shows this filter to whoever may open this page.");
  };
  return html`
    <${PageHead} title="History" lead=${lead(data, error, filter)}>
      ${navigator.clipboard && html`<${Button} icon="copy" onClick=${share}>Copy link<//>`}
      <${Bulk} filter=${filter} total=${data?.Total ?? 0} refresh=${refresh} />
    <//>
    <section class="card history" aria-busy=${loading ? "true" : "false"}>
      <${Filters} filter=${filter} change=${change} />
      ${error && html`<${Failure} error=${error} retry=${refresh} />`}
      ${data ? html`<${List} data=${data} filter=${filter} />` : !error && html`<${Loading} what="Reading the history" />`}
      ${data && html`<${Pager} query=${query} filter=${filter} next=${data.Next} />`}
    </section>
  `;
}

function lead(data, error, filter) {
  if (data) return html`<span role="status">${countInWords(data.Total, filter)}</span>`;
  return error ? "" : "…";
}

function List({ data, filter }) {
  if (data.Items.length) {
    return html`<${Table} caption="Deliveries, newest first" columns=${COLUMNS} rows=${data.Items} keyOf=${(each) => each.ID} />`;
  }
  if (Object.keys(filter).length) {
    return html`<${Empty} icon="search" title="No delivery is like that">
      <p>Looked for: ${inWords(filter)}.</p>
      <p>A study that no rule matched has no delivery. <a href=${href(["history"])}>Show all</a></p>
    <//>`;
  }
  return html`<${Empty} icon="history" title="Nothing was sent yet">
    Send a study to this Orthanc; once it is complete, the <a href=${href(["rules"])}>rules</a> say where it goes, and it is shown here.
  <//>`;
}

function Pager({ query, filter, next }) {
  if (!query.cursor && !next) return null;
  return html`<nav class="pager" aria-label="Pages of the history">
    ${query.cursor && html`<${LinkButton} icon="up" href=${href(["history"], filter)}>Newest<//>`}
    ${next && html`<${LinkButton} icon="down" href=${href(["history"], { ...filter, cursor: next })}>Older<//>`}
  </nav>`;
}
