// SPDX-License-Identifier: AGPL-3.0-or-later
// Charts over time, with uPlot. Colours come from the style, so they follow dark and light.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { html } from "../lib/html.js";
import { theme } from "../lib/theme.js";

const HEIGHT = 190;

loadStyle();

/**
 * `times`: the beginnings of the steps (ISO). `series`: [{label, tone, values}], stacked when `stacked`, else one line.
 * `name` is the chart's title for a screen reader, which also gets the numbers as a table. `readout(index)`: the words for
 * one step, shown while the pointer is over it; `summary`: shown else.
 */
export function Chart({ name, times, series, stacked = false, readout, summary }) {
  const frame = useRef();
  const plot = useRef();
  const [at, setAt] = useState(null);
  const data = toData(times, series, stacked);
  const shape = JSON.stringify(series.map((each) => [each.label, each.tone]));

  useEffect(() => {
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(frame.current, series, stacked, setAt), data, frame.current);
    };
    draw();
    const resized = new ResizeObserver(() => {
      const width = frame.current.clientWidth;
      if (plot.current && plot.current.width !== width) plot.current.setSize({ width, height: HEIGHT });
    });
    resized.observe(frame.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      scheme.removeEventListener("change", draw);
      plot.current.destroy();
      plot.current = null;
    };
  }, [shape, stacked, theme.value]);
  useEffect(() => plot.current?.setData(data), [JSON.stringify(data)]);

  return html`<figure class="chart">
    <figcaption class="chart-readout" aria-hidden="true">${at === null || at >= times.length ? summary : readout(at)}</figcaption>
    <div ref=${frame} aria-hidden="true"></div>
    <div class="only-read"><table>
      <caption>${name}</caption>
      <thead><tr><th scope="col">From</th>${series.map((each) => html`<th scope="col">${each.label}</th>`)}</tr></thead>
      <tbody>
        ${times.map((time, row) => html`<tr key=${time}>
          <th scope="row">${new Date(time).toLocaleString()}</th>${series.map((each) => html`<td>${each.values[row]}</td>`)}
        </tr>`)}
      </tbody>
    </table></div>
  </figure>`;
}

function toData(times, series, stacked) {
  const below = times.map(() => 0);
  const shown = series.map(({ values }) => (stacked ? values.map((value, row) => (below[row] += value)) : values));
  // What is stacked on top is drawn first, so that the lower part covers it.
  return [times.map((time) => Date.parse(time) / 1000), ...(stacked ? shown.reverse() : shown)];
}

function options(frame, series, stacked, setAt) {
  const style = getComputedStyle(frame);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = {
    stroke: colour("muted"),
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
    font: `12px ${style.fontFamily}`,
  };
  const look = ({ tone }) =>
    stacked
      ? { fill: colour(`chart-${tone}`), stroke: colour(`chart-${tone}`), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.62, 40], align: 1, radius: 0.15 }) }
      : { stroke: colour(`chart-${tone}`), fill: colour(`${tone}-soft`), width: 2, points: { show: false } };
  const looks = series.map(look);
  return {
    width: frame.clientWidth,
    height: HEIGHT,
    padding: [10, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(4, high * 1.08)] } },
    axes: [
      { ...axis, size: 30, grid: { show: false }, values: (_plot, splits) => splits.map(clock) },
      { ...axis, size: 46, values: (_plot, splits) => splits.map((each) => (Number.isInteger(each) ? each.toLocaleString() : "")) },
    ],
    series: [{}, ...(stacked ? looks.reverse() : looks)],
    hooks: { setCursor: [(plot) => setAt(plot.cursor.left >= 0 ? plot.cursor.idx : null)] },
  };
}

function clock(seconds) {
  const at = new Date(seconds * 1000);
  const midnight = at.getHours() === 0 && at.getMinutes() === 0;
  return midnight
    ? at.toLocaleDateString(undefined, { day: "numeric", month: "short" })
    : at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}

/** uPlot's own style lies among the modules, under a name with its version. */
function loadStyle() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = import.meta.resolve("uplot/style");
  document.head.append(link);
}
