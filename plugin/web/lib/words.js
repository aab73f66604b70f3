// SPDX-License-Identifier: AGPL-3.0-or-later
// Numbers, sizes and names in words.

const NUMBER = new Intl.NumberFormat();

export const number = (value) => NUMBER.format(value);

/** plural(1, "study", "studies") is "1 study". */
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** Bytes as 12.3 MB. */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return `${unit === "B" ? value : value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

/** DICOM's PN, DOE^JANE, as "DOE, JANE"; what is unusual is left as it is. */
export function personName(text) {
  // Ideographic and phonetic groups stand behind "=" (PS3.5 6.2.1.1); what is plain text there is no such group.
  const alphabetic = /^[^=]*=[\x00-\x7f]+$/.test(text) ? text : text.split("=")[0];
  const [family = "", given = "", ...more] = alphabetic.split("^").map((part) => part.trim());
  if (more.some(Boolean)) return alphabetic.trim();
  return [family, given].filter(Boolean).join(", ");
}

