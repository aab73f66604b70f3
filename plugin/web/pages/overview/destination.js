// SPDX-License-Identifier: AGPL-3.0-or-later
// A destination as a card: how it is, and what can be done.
import { useState } from "preact/hooks";
import { path, post } from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { href } from "../../lib/route.js";
import { duration } from "../../lib/time.js";
import { number, size } from "../../lib/words.js";
import { Badge } from "../../parts/badge.js";
import { Button } from "../../parts/button.js";
import { Icon } from "../../parts/icons.js";
import { Time } from "../../parts/time.js";
import { told } from "../../parts/toast.js";

const UNTIL = { Held: "; asked again at ", Waiting: ", which opens at " };
const PAUSABLE = new Set(["Up", "Held", "Waiting"]);

export function DestinationCard({ destination, refresh }) {
  const { Name, Kind, Target, State, Reason, Until, Counts, LastError, LastSuccess } = destination;
  const waiting = Counts.Scheduled + Counts.Retrying;
  const see = (status) => href(["history"], { destination: Name, status });
  return html`<li class="card destination">
    <div class="section-head">
      <h3><a href=${see("")}>${Name}</a></h3>
      <${Badge} state=${State} />
    </div>
    <p class="muted small">${Kind}${Target && Target !== Name ? html` · ${Target}` : ""}</p>
    ${Reason && html`<p class="small">${Reason}${Until && html`${UNTIL[State] ?? ", until "}<${Time} at=${Until} />`}</p>`}
    <dl class="numbers">
      <${Figure} label="Waiting" value=${waiting} link=${see("Scheduled,Retrying")} tone=${waiting && State === "Held" ? "bad" : ""} />
      <${Figure} label="Sending" value=${Counts.Sending} link=${see("Sending")} />
      <${Figure} label="Failed" value=${Counts.Failed} link=${see("Failed")} />
    </dl>
    <dl class="lines">
      <div><dt>Oldest waiting</dt><dd><${Time} at=${destination.OldestWaiting} as="relative" empty="none" /></dd></div>
      <div><dt>Rate</dt><dd>${rate(destination)}</dd></div>
      <div><dt>Last success</dt><dd><${Time} at=${LastSuccess} as="relative" empty="none since the start" /></dd></div>
    </dl>
    ${LastError && html`<details><summary><${Icon} name="alert" size=${12} /> Last error: ${LastError.Code}</summary><p>${LastError.Message}</p></details>`}
    <${Actions} name=${Name} state=${State} refresh=${refresh} />
  </li>`;
}

function Figure({ label, value, link, tone = "" }) {
  return html`<div><dt>${label}</dt><dd class=${tone && `tone-${tone}`}>${value ? html`<a href=${link}>${number(value)}</a>` : "0"}</dd></div>`;
}

function rate({ InstancesPerMinute, BytesPerMinute }) {
  if (!InstancesPerMinute) return html`<span class="muted">nothing in 15 min</span>`;
  const images = InstancesPerMinute < 10 ? InstancesPerMinute.toFixed(1) : number(Math.round(InstancesPerMinute));
  return html`${images} images/min, ${size(BytesPerMinute / 60)}/s`;
}

function Actions({ name, state, refresh }) {
  const [answer, setAnswer] = useState(null);
  const pause = async (paused) => {
    await post(path`destinations/${name}/${paused ? "pause" : "resume"}`);
    told(paused ? `${name} is paused: nothing new is sent there.` : `${name} is sent to again.`);
    refresh();
  };
  const test = async () => {
    setAnswer(null);
    setAnswer(await post(path`destinations/${name}/test`));
    refresh();
  };
  return html`<div class="destination-actions">
    ${state === "Paused" && html`<${Button} icon="play" kind="primary" onClick=${() => pause(false)} label="Resume ${name}">Resume<//>`}
    ${PAUSABLE.has(state) && html`<${Button} icon="pause" onClick=${() => pause(true)} label="Pause ${name}">Pause<//>`}
    <${Button} icon="pulse" onClick=${test} label="Test ${name}">Test<//>
    <span class="small answer" role="status">${answer && toldOf(answer)}</span>
  </div>`;
}

function toldOf({ Ok, Seconds, Error }) {
  if (Ok) return html`<span class="tone-good"><${Icon} name="check" size=${12} /> answers, ${duration(Seconds)}</span>`;
  return html`<span class="tone-bad"><${Icon} name="alert" size=${12} /> ${Error.Message}</span>`;
}
