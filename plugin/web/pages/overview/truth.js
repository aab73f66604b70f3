// SPDX-License-Identifier: AGPL-3.0-or-later
// The state of everything in one sentence.
import { plural } from "../../lib/words.js";

/** {tone, title, more, link} from /status, /destinations and the hours of /statistics. */
export function truth(status, destinations, hours) {
  const waiting = status.Queue.Scheduled + status.Queue.Retrying;
  const held = destinations.filter((each) => each.State === "Held");
  const paused = destinations.filter((each) => each.State === "Paused");
  const failed = hours.reduce((total, each) => total + each.Failed, 0);
  const seeWaiting = { label: "See what waits", query: { status: "Scheduled,Retrying" } };

  if (status.State === "Suspended") {
    return {
      tone: "bad",
      title: "Routing is suspended",
      more: "Orthanc receives and keeps every study. What came meanwhile is routed once the problems below are mended.",
    };
  }
  if (status.State === "Paused") {
    return { tone: "warn", title: `Sending is paused, ${plural(waiting, "delivery waits", "deliveries wait")}`, link: seeWaiting };
  }
  if (held.length) {
    const kept = held.reduce((total, { Counts }) => total + Counts.Scheduled + Counts.Retrying, 0);
    const one = held.length === 1;
    return {
      tone: "bad",
      title: `${plural(held.length, "destination")} held, ${plural(kept, "delivery waits", "deliveries wait")} for ${one ? "it" : "them"}`,
      more: `${names(held)} ${one ? "does" : "do"} not answer. ${one ? "It is" : "They are"} asked again every minute at least, and what waits goes at once when ${one ? "it is" : "they are"} back.`,
      link: seeWaiting,
    };
  }
  if (paused.length && waiting) {
    return { tone: "warn", title: `${plural(paused.length, "destination")} paused, ${plural(waiting, "delivery waits", "deliveries wait")}`, link: seeWaiting };
  }
  if (failed) {
    return {
      tone: "warn",
      title: `${plural(failed, "delivery", "deliveries")} failed in the last ${hours.length} hours`,
      more: `${flow(status.Queue.Sending, waiting)}`,
      link: { label: "See what failed", query: { status: "Failed" } },
    };
  }
  if (status.Queue.Sending || waiting) return { tone: "wait", title: flow(status.Queue.Sending, waiting), link: { label: "See them", query: { status: "Scheduled,Sending,Retrying" } } };
  return { tone: "good", title: "All delivered", more: "Nothing waits and nothing failed." };
}

function flow(sending, waiting) {
  if (!sending && !waiting) return "Everything else is delivered.";
  const told = [sending && `${plural(sending, "delivery", "deliveries")} on the way`, waiting && `${waiting} waiting`];
  return told.filter(Boolean).join(", ");
}

const names = (destinations) => destinations.map((each) => each.Name).join(", ");
