// SPDX-License-Identifier: AGPL-3.0-or-later
// What differs between two JSON texts, line by line. Pure.

/** [{kind: "same" | "gone" | "new", text}, …] by the longest common sequence of lines. */
export function lineDiff(before, after) {
  const [oldLines, freshLines] = [before.split("\n"), after.split("\n")];
  const [old, fresh] = [oldLines, freshLines].map((all) => all.map((line) => line.replace(/,$/, ""))); // a comma is no change
  const common = lengths(old, fresh);
  const lines = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < fresh.length) {
    if (i < old.length && j < fresh.length && old[i] === fresh[j]) {
      lines.push({ kind: "same", text: freshLines[j] });
      [i, j] = [i + 1, j + 1];
    } else if (i < old.length && (j === fresh.length || common[i + 1][j] >= common[i][j + 1])) {
      lines.push({ kind: "gone", text: oldLines[i++] });
    } else {
      lines.push({ kind: "new", text: freshLines[j++] });
    }
  }
  return lines;
}

function lengths(old, fresh) {
  const table = Array.from({ length: old.length + 1 }, () => new Uint16Array(fresh.length + 1));
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = fresh.length - 1; j >= 0; j--) {
      table[i][j] = old[i] === fresh[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  return table;
}
