// SPDX-License-Identifier: AGPL-3.0-or-later
// The frame of every page: where one is, how the router is, and what is wrong.
import { useEffect, useRef } from "preact/hooks";
import { html } from "../lib/html.js";
import { href, route } from "../lib/route.js";
import { lost, status } from "../lib/status.js";
import { nextTheme, theme } from "../lib/theme.js";
import { Badge } from "./badge.js";
import { Icon } from "./icons.js";
import { Notice } from "./states.js";

const THEMES = { "": ["system", "as the system"], light: ["light", "light"], dark: ["dark", "dark"] };

/** The page with its navigation. `navigation`: [{path, label, icon}]. */
export function Layout({ navigation, children }) {
  const main = useRef();
  const first = useRef(true);
  // A new page begins at its top, for the eye and for a screen reader.
  useEffect(() => {
    if (!first.current) main.current.focus({ preventScroll: true });
    first.current = false;
    scrollTo(0, 0);
  }, [route.value.path]);
  return html`<div class="frame">
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>Skip to the content</a>
    <header class="top">
      <a class="brand" href=${href([])}><${Logo} /><span>dicom-router</span></a>
      <nav aria-label="Pages">
        ${navigation.map((each) => html`<${PageLink} key=${each.path} ...${each} />`)}
      </nav>
      <div class="top-end">
        <${RouterState} />
        <${ThemeButton} />
        <a class="quiet-link" href="../../app/explorer.html">Orthanc Explorer</a>
      </div>
    </header>
    <main ref=${main} id="main" tabindex="-1">
      ${lost.value && html`<${Notice} tone="bad"><strong>${lost.value.message}</strong> What is shown may be old; it is asked for again every few seconds.<//>`}
      ${children}
    </main>
  </div>`;
}

function PageLink({ path, label, icon, own }) {
  const current = own(route.value.parts);
  return html`<a href=${href(path)} aria-current=${current ? "page" : undefined}><${Icon} name=${icon} /><span>${label}</span></a>`;
}

function RouterState() {
  return status.value && html`<${Badge} state=${status.value.State} />`;
}

function ThemeButton() {
  const [icon, text] = THEMES[theme.value] ?? THEMES[""];
  return html`<button type="button" class="button quiet only-icon" onClick=${nextTheme} aria-label="Colours: ${text}. Change" title="Colours: ${text}">
    <${Icon} name=${icon} />
  </button>`;
}

function Logo() {
  return html`<svg class="logo" width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">
    <path d="M3 11h6M9 11c4 0 3-7 7-7h2M9 11h9M9 11c4 0 3 7 7 7h2" />
    <circle cx="3.2" cy="11" r="2.2" /><circle cx="18.8" cy="4" r="2.2" /><circle cx="18.8" cy="11" r="2.2" /><circle cx="18.8" cy="18" r="2.2" />
  </svg>`;
}

/** A page's title and, beside it, what can be done. Sets the title of the window too. */
export function PageHead({ title, lead, back, children }) {
  useEffect(() => {
    document.title = `${title} · dicom-router`;
  }, [title]);
  return html`<div class="page-head">
    <div>
      ${back && html`<a class="back" href=${back.href}><${Icon} name="back" size=${12} />${back.label}</a>`}
      <h1>${title}</h1>
      ${lead && html`<div class="lead">${lead}</div>`}
    </div>
    <div class="page-actions">${children}</div>
  </div>`;
}

/** A boxed part of a page with a heading. */
export function Section({ title, aside, children, plain = false }) {
  return html`<section class=${plain ? "" : "card"}>
    <div class="section-head"><h2>${title}</h2>${aside && html`<div class="aside">${aside}</div>`}</div>
    ${children}
  </section>`;
}
