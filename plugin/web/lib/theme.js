// SPDX-License-Identifier: AGPL-3.0-or-later
// Dark, light, or as the system has it.
import { signal } from "@preact/signals";

const KEY = "dicom-router.theme";
const NEXT = { "": "light", light: "dark", dark: "" };

/** "", "light" or "dark". */
export const theme = signal(document.documentElement.dataset.theme ?? "");

export function nextTheme() {
  theme.value = NEXT[theme.value] ?? "";
  document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // then it is kept for this page only
  }
}
