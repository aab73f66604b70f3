// SPDX-License-Identifier: AGPL-3.0-or-later
// All pages: which address is whose, and what stands in the navigation. A page is loaded when it is first visited.

export const PAGES = [
  { match: (parts) => parts.length === 0, load: () => import("./pages/overview.js") },
  { match: ([first, ...rest]) => first === "history" && rest.length === 0, load: () => import("./pages/history.js") },
  { match: ([first, , ...rest]) => first === "deliveries" && rest.length === 0, load: () => import("./pages/delivery.js") },
  { match: ([first, , ...rest]) => first === "studies" && rest.length === 0, load: () => import("./pages/study.js") },
  { match: ([first]) => first === "rules", load: () => import("./pages/rules.js") },
];

export const NAVIGATION = [
  { path: [], label: "Overview", icon: "overview", own: ([first]) => first === undefined },
  { path: ["history"], label: "History", icon: "history", own: ([first]) => ["history", "deliveries", "studies"].includes(first) },
  { path: ["rules"], label: "Rules", icon: "rules", own: ([first]) => first === "rules" },
];
