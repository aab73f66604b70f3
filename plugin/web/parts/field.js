// SPDX-License-Identifier: AGPL-3.0-or-later
// Form fields: a label, help and an error that a screen reader finds.
import { useId } from "preact/hooks";
import { html } from "../lib/html.js";

/** `control(attributes)` draws the input; the attributes tie it to label, help and error. */
export function Field({ label, help, error, control }) {
  const id = useId();
  const told = [help && `${id}-help`, error && `${id}-error`].filter(Boolean).join(" ");
  const attributes = { id, "aria-describedby": told || undefined, "aria-invalid": error ? "true" : undefined };
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${control(attributes)}
    ${help && html`<p id="${id}-help" class="help">${help}</p>`}
    ${error && html`<p id="${id}-error" class="error">${error}</p>`}
  </div>`;
}

/** One line of text. `onInput(value)`. */
export function TextField({ label, value, onInput, help, error, type = "text", ...more }) {
  const control = (attributes) =>
    html`<input type=${type} value=${value} onInput=${(event) => onInput(event.currentTarget.value)} ...${attributes} ...${more} />`;
  return html`<${Field} label=${label} help=${help} error=${error} control=${control} />`;
}

/** `options`: [[value, text], …]. `onChange(value)`. */
export function SelectField({ label, value, options, onChange, help, error, ...more }) {
  const control = (attributes) => html`<select onChange=${(event) => onChange(event.currentTarget.value)} ...${attributes} ...${more}>
    ${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
  </select>`;
  return html`<${Field} label=${label} help=${help} error=${error} control=${control} />`;
}
