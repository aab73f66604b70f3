// SPDX-License-Identifier: AGPL-3.0-or-later
// The page: finds the one that the address names, and draws it in the frame.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "@preact/signals";
import { html } from "./lib/html.js";
import { href, route } from "./lib/route.js";
import { refreshStatus } from "./lib/status.js";
import { NAVIGATION, PAGES } from "./pages.js";
import { Confirmation } from "./parts/dialog.js";
import { Layout, PageHead } from "./parts/layout.js";
import { Empty, Failure, Loading } from "./parts/states.js";
import { Toasts } from "./parts/toast.js";

function App() {
  return html`<${Layout} navigation=${NAVIGATION}><${CurrentPage} /><//><${Toasts} /><${Confirmation} />`;
}

function CurrentPage() {
  const { parts, query } = route.value;
  const page = PAGES.find((each) => each.match(parts));
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    let left = false; // for another page, whose module may come earlier
    page?.load().then(
      (module) => left || setLoaded({ page, Page: module.default }),
      (error) => left || setLoaded({ page, error }),
    );
    return () => (left = true);
  }, [page]);
  if (!page) return html`<${NotFound} />`;
  if (loaded.page !== page) return html`<${Loading} />`;
  if (loaded.error) return html`<${Failure} error=${loaded.error} retry=${() => location.reload()} />`;
  return html`<${loaded.Page} parts=${parts} query=${query} />`;
}

function NotFound() {
  return html`<${PageHead} title="Not found" /><${Empty} title="There is no such page.">
    <a href=${href([])}>Go to the overview</a>
  <//>`;
}

refreshStatus();
render(html`<${App} />`, document.getElementById("app"));
