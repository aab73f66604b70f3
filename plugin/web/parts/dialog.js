// SPDX-License-Identifier: AGPL-3.0-or-later
// Dialogs on the browser's own <dialog>: it keeps the focus inside, closes on Escape and gives the focus back.
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { html } from "../lib/html.js";
import { Button } from "./button.js";
import { Icon } from "./icons.js";

/** Open while it is in the page. `onClose` is called for Escape and the cross; `actions` stand at the bottom. */
export function Dialog({ title, onClose, actions, wide = false, children }) {
  const dialog = useRef();
  // Before the next key is read, which is for the dialog already: an effect after painting would miss an Escape.
  useLayoutEffect(() => {
    const before = document.activeElement;
    const own = dialog.current;
    own.showModal();
    return () => {
      own.close(); // what stands behind it takes no focus before
      before?.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${dialog} class=${wide ? "wide" : ""} aria-label=${title} onCancel=${cancel}>
    <header>
      <h2>${title}</h2>
      <button type="button" class="button quiet only-icon" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button>
    </header>
    <div class="dialog-body">${children}</div>
    ${actions && html`<footer>${actions}</footer>`}
  </dialog>`;
}

const asked = signal(null);

/** Ask before something that cannot be undone. Answers true or false. `body`: text or a template. */
export function confirm({ title, body, action = "Yes", kind = "primary" }) {
  return new Promise((resolve) => (asked.value = { title, body, action, kind, resolve }));
}

/** Once in the page: what `confirm` asks. */
export function Confirmation() {
  if (!asked.value) return null;
  const { title, body, action, kind, resolve } = asked.value;
  const answer = (value) => {
    asked.value = null;
    resolve(value);
  };
  return html`<${Dialog}
    title=${title}
    onClose=${() => answer(false)}
    actions=${html`<${Button} onClick=${() => answer(false)}>Cancel<//><${Button} kind=${kind} onClick=${() => answer(true)}>${action}<//>`}
  >
    ${typeof body === "string" ? html`<p>${body}</p>` : body}
  <//>`;
}
