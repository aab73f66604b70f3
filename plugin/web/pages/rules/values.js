// SPDX-License-Identifier: AGPL-3.0-or-later
// The value that a condition compares with: one, several, two ends, a duration, or there at all.
import { readDuration, UNITS } from "../../lib/durations.js";
import { html } from "../../lib/html.js";
import { shapeOf } from "../../lib/match-form.js";
import { findValues } from "../../lib/vocabulary.js";
import { Combobox } from "../../parts/combobox.js";
import { Icon } from "../../parts/icons.js";

const EXAMPLES = { date: "2026-11-22", time: "19:00", moment: "2026-11-22T19:00:00", age: "018Y", number: "5", address: "10.20.0.0/16" };

/** `attributes` tie the field to its error. */
export function Operand({ condition, term, onChange, attributes }) {
  const { key, operator, operand } = condition;
  const common = { family: term?.Family ?? "", keyName: key, attributes };
  if (operator === "NewerThan" || operator === "OlderThan") {
    return html`<${Duration} label="Age" value=${operand} onChange=${onChange} attributes=${attributes} />`;
  }
  switch (shapeOf(operator)) {
    case "flag":
      return html`<${Flag} value=${operand} onChange=${onChange} attributes=${attributes} />`;
    case "list":
      return html`<${Values} label="Values" values=${operand} onChange=${onChange} ...${common} />`;
    case "pair":
      return html`<div class="pair">
        <${Value} label="From" value=${operand[0]} onChange=${(value) => onChange([value, operand[1]])} ...${common} />
        <span>and</span>
        <${Value} label="To" value=${operand[1]} onChange=${(value) => onChange([operand[0], value])} ...${common} />
      </div>`;
    default:
      return html`<${Value} label="Value" value=${operand} onChange=${onChange} ...${common} />`;
  }
}

function Flag({ value, onChange, attributes }) {
  return html`<select aria-label="Value" onChange=${(event) => onChange(event.currentTarget.value === "yes")} ...${attributes}>
    <option value="yes" selected=${value}>yes</option>
    <option value="no" selected=${!value}>no, it is missing or empty</option>
  </select>`;
}

export function Value({ label, value, onChange, keyName, family, attributes, placeholder }) {
  return html`<${Combobox}
    label=${label}
    value=${value ?? ""}
    onPick=${(text) => onChange(typed(text, family))}
    load=${(text) => findValues(keyName, text === String(value ?? "") ? "" : text)}
    placeholder=${placeholder ?? EXAMPLES[family] ?? "value"}
    attributes=${attributes}
  />`;
}

/** Several values: each can be taken out, the field behind them adds one. */
export function Values({ label, values, onChange, keyName, family, attributes }) {
  const add = (text) => {
    const value = typed(text, family);
    if (text !== "" && !values.includes(value)) onChange([...values, value]);
  };
  return html`<div class="chips">
    ${values.map(
      (value) => html`<span key=${value} class="chip">
        <span>${value}</span>
        <button type="button" aria-label="Remove ${value}" onClick=${() => onChange(values.filter((each) => each !== value))}>
          <${Icon} name="close" size=${10} />
        </button>
      </span>`,
    )}
    <${Combobox}
      label=${label}
      clear
      onPick=${add}
      onBackspace=${() => values.length && onChange(values.slice(0, -1))}
      load=${async (text) => (await findValues(keyName, text)).filter((each) => !values.includes(each.value))}
      placeholder=${values.length ? "one more" : (EXAMPLES[family] ?? "value, then Enter")}
      attributes=${attributes}
    />
  </div>`;
}

/** A number where the key's values are numbers, so that the rule reads as one would write it. */
function typed(text, family) {
  return family === "number" && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

/** A number and a unit; a duration that has more to it is a text. */
export function Duration({ label, value, onChange, attributes }) {
  const read = readDuration(value || "0s");
  if (!read) return html`<input aria-label=${label} value=${value} onInput=${(event) => onChange(event.currentTarget.value)} ...${attributes} />`;
  const [count, unit] = read;
  return html`<div class="duration">
    <input type="number" min="0" aria-label=${label} value=${count} onInput=${(event) => onChange(`${Number(event.currentTarget.value) || 0}${unit}`)} ...${attributes} />
    <select aria-label="${label}: unit" onChange=${(event) => onChange(`${count}${event.currentTarget.value}`)}>
      ${UNITS.map(([key, many]) => html`<option key=${key} value=${key} selected=${key === unit}>${many}</option>`)}
    </select>
  </div>`;
}
