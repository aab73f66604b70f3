// SPDX-License-Identifier: AGPL-3.0-or-later
// When a rule may send: usual schedules to choose from, the text of any other, and what it means.
import { html } from "../../lib/html.js";
import { scheduleWords } from "../../lib/schedule-words.js";
import { Field, SelectField, TextField } from "../../parts/field.js";
import { Duration } from "./values.js";

const USUAL = [
  ["", "At any time"],
  ["19:00-07:00", "At night"],
  ["Mon-Fri 19:00-07:00, Sat,Sun 00:00-24:00", "At night and on weekends"],
  ["Mon-Fri 08:00-18:00", "In working hours"],
  ["Sat,Sun 00:00-24:00", "On weekends"],
];
const OWN = "own";
const CRON = "cron";

export function ScheduleEditor({ schedule, onChange, error }) {
  const cron = typeof schedule === "object" && schedule !== null;
  const usual = USUAL.some(([text]) => text === schedule);
  const choice = cron ? CRON : usual ? schedule : OWN;
  const choose = (value) => {
    if (value === CRON) onChange({ Cron: "0 19 * * *", For: "12h" });
    else if (value === OWN) onChange(typeof schedule === "string" && schedule ? `${schedule} ` : "Mon-Fri 20:00-06:00");
    else onChange(value);
  };
  const words = scheduleWords(schedule);
  const help = words ? `${words}.` : words === null ? "This cannot be told in words; the router checks it." : undefined;
  return html`<div class="schedule" data-place="Schedule">
    <${SelectField} label="May be sent" value=${choice} options=${[...USUAL, [OWN, "Other windows"], [CRON, "By a cron expression"]]} onChange=${choose} help=${help} error=${error} />
    ${choice === OWN && html`<${TextField} label="Windows" value=${schedule} onInput=${onChange} placeholder="Mon-Fri 08:00-12:00, 14:00-18:00" />`}
    ${cron && html`<${TextField} label="Cron expression" value=${schedule.Cron ?? ""} onInput=${(text) => onChange({ ...schedule, Cron: text })} />
      <${Field} label="Open for" control=${(attributes) => html`<${Duration} label="Open for" value=${schedule.For} onChange=${(value) => onChange({ ...schedule, For: value })} attributes=${attributes} />`} />`}
  </div>`;
}
