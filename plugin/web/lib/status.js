// SPDX-License-Identifier: AGPL-3.0-or-later
// What every page wants to know: whether the router runs, and the names of destinations and rules.
import { signal } from "@preact/signals";
import { get } from "./api.js";

const SECONDS = 5;

/** The answer of /router/status, or null before the first one. */
export const status = signal(null);
/** The last error of asking, or null. */
export const lost = signal(null);

/** While routing is suspended some questions have no answer; then they need not be asked. */
export const isSuspended = () => status.value?.State === "Suspended";

let timer;

export async function refreshStatus() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      const told = await get("status");
      if (JSON.stringify(told) !== JSON.stringify(status.value)) status.value = told;
      lost.value = null;
    } catch (error) {
      lost.value = error;
    }
  }
  timer = setTimeout(refreshStatus, SECONDS * 1000);
}

document.addEventListener("visibilitychange", () => document.hidden || refreshStatus());
