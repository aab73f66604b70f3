// SPDX-License-Identifier: AGPL-3.0-or-later
// Whether everything flows, at a glance.
import { useState } from "preact/hooks";
import { get, post } from "../lib/api.js";
import { html } from "../lib/html.js";
import { useLive } from "../lib/live.js";
import { href } from "../lib/route.js";
import { refreshStatus, status } from "../lib/status.js";
import { number, plural } from "../lib/words.js";
import { Button } from "../parts/button.js";
import { Chart } from "../parts/chart.js";
import { Icon } from "../parts/icons.js";
import { PageHead, Section } from "../parts/layout.js";
import { Empty, Failure, Loading, ProblemList } from "../parts/states.js";
import { told } from "../parts/toast.js";
import { DestinationCard } from "./overview/destination.js";
import { truth } from "./overview/truth.js";

const HOURS = 24;

export default function Overview() {
  const destinations = useLive(({ signal }) => get("destinations", {}, { signal }), ["destinations"], 5);
  const statistics = useLive(({ signal }) => get("statistics", { hours: HOURS }, { signal }), ["statistics"], 20);
  const hours = statistics.data?.Hours ?? [];
  return html`
    <${PageHead} title="Overview"><${PauseAll} refresh=${destinations.refresh} /><//>
    <${Truth} destinations=${destinations.data} hours=${hours} />
    <${Told} />
    <${Destinations} ...${destinations} />
    <div class="two">
      <${Section} title="Deliveries per hour" aside="last ${HOURS} hours">
        ${hours.length ? html`<${PerHour} hours=${hours} />` : html`<${Waiting} ...${statistics} />`}
      <//>
      <${Section} title="Waiting" aside="last ${HOURS} hours">
        ${hours.length ? html`<${Queue} hours=${hours} />` : html`<${Waiting} ...${statistics} />`}
      <//>
    </div>
    <${About} />
  `;
}

function Waiting({ error, refresh }) {
  if (error?.status === 503) return html`<${Empty} title="No numbers while routing is suspended" />`;
  return error ? html`<${Failure} error=${error} retry=${refresh} />` : html`<${Loading} />`;
}

function PauseAll({ refresh }) {
  const state = status.value?.State;
  if (state !== "Running" && state !== "Paused") return null;
  const paused = state === "Paused";
  const press = async () => {
    await post(paused ? "resume" : "pause");
    told(paused ? "Sending goes on." : "Paused: what is on its way arrives, nothing new starts.");
    refreshStatus();
    refresh();
  };
  return html`<${Button} icon=${paused ? "play" : "pause"} kind=${paused ? "primary" : ""} onClick=${press}>
    ${paused ? "Resume sending" : "Pause all sending"}
  <//>`;
}

/** One line. */
function Truth({ destinations, hours }) {
  if (!status.value) return html`<${Loading} what="Asking the router" />`;
  const { tone, title, more, link } = truth(status.value, destinations ?? [], hours);
  const icon = { good: "check", warn: "alert", bad: "alert", wait: "send" }[tone];
  return html`<div class="truth ${tone}" role="status">
    <${Icon} name=${icon} size=${24} />
    <div><p class="truth-title">${title}</p>${more && html`<p>${more}</p>`}</div>
    ${link && html`<a class="button" href=${href(["history"], link.query)}><span>${link.label}</span><${Icon} name="arrow" /></a>`}
  </div>`;
}

/** Problems and warnings, each with what to do. */
function Told() {
  if (!status.value) return null;
  const { Problems, Warnings } = status.value;
  return html`
    ${Problems.length > 0 && html`<${Section} title="Problems"><${ProblemList} problems=${Problems} /><//>`}
    ${Warnings.length > 0 && html`<${Warned} warnings=${Warnings} />`}
  `;
}

function Warned({ warnings }) {
  const [open, setOpen] = useState(warnings.length <= 2);
  return html`<${Section}
    title=${plural(warnings.length, "warning")}
    aside=${warnings.length > 2 && html`<${Button} kind="quiet" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "Hide" : "Show"}<//>`}
  >
    ${open ? html`<${ProblemList} problems=${warnings} />` : html`<p class="muted">Nothing is lost by them, but something is probably not as it was meant.</p>`}
  <//>`;
}

function Destinations({ data, error, refresh }) {
  if (!data) return error ? html`<${Failure} error=${error} retry=${refresh} />` : html`<${Loading} what="Asking for the destinations" />`;
  if (!data.length) {
    return html`<${Empty} icon="send" title="There are no destinations yet">
      Add one to <code>DicomModalities</code> in Orthanc's configuration, then name it in a <a href=${href(["rules"])}>rule</a>.
    <//>`;
  }
  return html`<${Section} title="Destinations" plain>
    <ul class="cards">${data.map((each) => html`<${DestinationCard} key=${each.Name} destination=${each} refresh=${refresh} />`)}</ul>
  <//>`;
}

function PerHour({ hours }) {
  const series = [
    { label: "Completed", tone: "good", values: hours.map((each) => each.Completed) },
    { label: "Warning", tone: "warn", values: hours.map((each) => each.Warning) },
    { label: "Failed", tone: "bad", values: hours.map((each) => each.Failed) },
  ];
  const sum = (key) => hours.reduce((total, each) => total + each[key], 0);
  const words = (completed, warning, failed) => html`
    <span class="key good">${number(completed)} completed</span>
    <span class="key warn">${number(warning)} with warnings</span>
    <span class="key bad">${number(failed)} failed</span>
  `;
  return html`<${Chart}
    name="Deliveries that ended, per hour"
    stacked
    times=${hours.map((each) => each.At)}
    series=${series}
    summary=${words(sum("Completed"), sum("Warning"), sum("Failed"))}
    readout=${(index) => html`<strong>${span(hours[index].At)}</strong> ${words(hours[index].Completed, hours[index].Warning, hours[index].Failed)}`}
  />`;
}

function Queue({ hours }) {
  const now = hours.at(-1).Open;
  // What had not ended is told for the end of each hour; the running one ends now.
  const ends = hours.map((each, index) => (index + 1 < hours.length ? hours[index + 1].At : new Date().toISOString()));
  return html`<${Chart}
    name="Deliveries that had not ended at the end of each hour"
    times=${ends}
    series=${[{ label: "Not ended", tone: "wait", values: hours.map((each) => each.Open) }]}
    summary=${html`<span class="key wait">${number(now)} now</span>`}
    readout=${(index) => html`<strong>${clock(ends[index])}</strong> <span class="key wait">${number(hours[index].Open)} waiting or on the way</span>`}
  />`;
}

const clock = (time) => new Date(time).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });

const span = (iso) => `${clock(iso)} – ${clock(Date.parse(iso) + 3_600_000)}`;

function About() {
  if (!status.value) return null;
  const { Version, Orthanc, Database } = status.value;
  return html`<p class="muted small">dicom-router ${Version} · ${Orthanc ? `Orthanc ${Orthanc}` : "Orthanc"} · ${Database || "no database"}</p>`;
}
