// SPDX-License-Identifier: AGPL-3.0-or-later
// States as a word, a colour and a drawing: never by colour alone.
import { html } from "../lib/html.js";
import { Icon } from "./icons.js";

const LOOKS = {
  // deliveries
  Scheduled: ["wait", "clock"],
  Sending: ["busy", "send"],
  Retrying: ["warn", "retry"],
  Completed: ["good", "check"],
  Warning: ["warn", "alert"],
  Failed: ["bad", "close"],
  Canceled: ["off", "stop"],
  // destinations and the router
  Up: ["good", "check"],
  Running: ["good", "check"],
  Held: ["bad", "alert"],
  Paused: ["warn", "pause"],
  Disabled: ["off", "stop"],
  Waiting: ["wait", "clock"],
  Suspended: ["bad", "alert"],
};

/** The state of a delivery, a destination or the router. `text`: other words than the state's own. */
export function Badge({ state, text = state }) {
  const [tone, icon] = LOOKS[state] ?? ["off", "info"];
  return html`<span class="badge ${tone}"><${Icon} name=${icon} size=${12} />${text}</span>`;
}

/** A small grey word: a modality, where a rule comes from. */
export const Tag = ({ children, tone = "" }) => html`<span class="tag ${tone}">${children}</span>`;
