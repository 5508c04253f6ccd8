// One patient: a metric over the sessions, drawn and as a table.

import { askJson, trendsUrl } from "./api.js";
import { bokeh, figure, Shown } from "./bokeh.js";
import { announce, element, heading, replace, table } from "./dom.js";
import { amplitudes, localMoment, milliseconds, moment, NOTHING, number, percent, plural, seconds } from "./format.js";
import { estimatedBadge } from "./states.js";
import { colours, onThemeChange } from "./theme.js";
import { wayToAdd } from "./viewer.js";

const FIGURES = {
  compliance_rate: { text: "Compliance", axis: "Compliance (%)", factor: 100, shown: percent, rests: true },
  good_contractions: { text: "Good contractions", axis: "Good contractions", shown: number, rests: true },
  contractions: { text: "Contractions", axis: "Contractions", shown: number },
  mean_duration_ms: { text: "Mean length of contractions", axis: "Mean length (s)", factor: 1e-3, shown: milliseconds },
  time_under_tension_ms: { text: "Time under tension", axis: "Time under tension (s)", factor: 1e-3, shown: (ms) => seconds(ms === null ? null : ms / 1000) },
  mvc: { text: "Maximum voluntary contraction (MVC)", axis: "MVC", amplitude: true, rests: true },
  mean_amplitude: { text: "Mean amplitude of contractions", axis: "Mean amplitude", amplitude: true },
  max_amplitude: { text: "Largest amplitude", axis: "Largest amplitude", amplitude: true },
  rms: { text: "RMS", axis: "RMS", amplitude: true },
  mav: { text: "Mean absolute value", axis: "Mean absolute value", amplitude: true },
  mpf_hz: { text: "Mean power frequency", axis: "Mean power frequency (Hz)", shown: number },
  mdf_hz: { text: "Median frequency", axis: "Median frequency (Hz)", shown: number },
  fi_nsm5: { text: "Fatigue index FInsm5", axis: "FInsm5", shown: number, scaled: true },
};
const MARKERS = ["circle", "square", "triangle", "diamond"];
const DASHES = ["solid", "dashed", "dotted", "dotdash"];
const SIGNS = ["●", "■", "▲", "◆"];

export async function showPage(main, code) {
  const query = new URLSearchParams(window.location.search);
  const metric = query.get("metric") in FIGURES ? query.get("metric") : "compliance_rate";
  const trend = await askJson(trendsUrl(code, { metric }));
  const known = FIGURES[metric];
  const points = trend.channels.flatMap(({ points: own }) => own);
  const scale = scaleOf(known, points);
  const place = element("div", { class: "plot" });
  const select = element("select", { id: "metric", name: "metric" }, Object.entries(FIGURES).map(([name, { text }]) =>
    element("option", { value: name, selected: name === metric }, text)));
  const estimated = known.rests && points.some(({ mvc_source: source }) => source === "estimated");
  const drawn = points.some(({ value }) => value !== null);
  const plot = element("section", { class: "card", "aria-labelledby": "trend-title" }, [
    element("div", { class: "card-head" }, [
      element("h2", { id: "trend-title" }, known.text),
      element("form", { class: "filters", method: "get", onchange: (event) => event.currentTarget.requestSubmit() }, [element("label", { for: "metric" }, "Metric"), select]),
    ]),
    estimated ? element("p", { class: "notice" }, [estimatedBadge(true), " In some sessions the maximum voluntary contraction was estimated from the same recording. Such figures say little about progress: compare sessions with a measured MVC."]) : null,
    drawn ? element("figure", { class: "channel-plot", role: "group", "aria-label": `${known.text} of ${plural(trend.sessions, "session")}; the table below has the figures.` }, [legend(trend), place]) : await empty(trend),
    trend.truncated ? element("p", { class: "hint" }, `The last ${trend.sessions} sessions; there are older ones.`) : null,
  ]);
  replace(main, element("div", { class: "page-head" }, [
    element("p", { class: "crumbs" }, element("a", { href: "/patients" }, "Patients")),
    element("div", { class: "title-line" }, [heading(`Patient ${code}`)]),
    element("p", { class: "under" }, [`${plural(trend.sessions, "analysed session")} · `, element("a", { href: `/?patient=${encodeURIComponent(code)}` }, "list them")]),
  ]), plot, points.length === 0 ? null : figures(trend, known, scale));
  announce(`${known.text} of patient ${code}`);
  if (drawn) {
    const shown = new Shown();
    const draw = () => drawTrend(shown, place, trend, known, scale);
    onThemeChange(draw);
    await draw();
    plot.dataset.drawn = "true";
  }
}

// The unit of recordings is not part of a trend: amplitudes share a power of ten and nothing else.
function scaleOf({ amplitude, scaled, axis, factor = 1 }, points) {
  if (!amplitude && !scaled) {
    return { factor, axis };
  }
  const largest = Math.max(0, ...points.map(({ value }) => Math.abs(value ?? 0)));
  const { factor: tens, label } = amplitudes(largest, null);
  const unit = amplitude ? [label, "recording's unit"].filter(Boolean).join(", ") : label;
  return { factor: tens, axis: unit ? `${axis} (${unit})` : axis };
}

function legend({ channels }) {
  const { series } = colours();
  return element("ul", { class: "legend" }, channels.map(({ name }, place) => element("li", { class: "legend-note" }, [
    element("span", { class: `series series-${(place % series.length) + 1}`, "aria-hidden": "true" }, SIGNS[place % SIGNS.length]), name,
  ])));
}

async function drawTrend(shown, target, { channels }, known, { factor, axis }) {
  const Bokeh = await bokeh();
  const { Models } = Bokeh;
  const { series } = colours();
  const all = channels.flatMap(({ points }) => points).filter(({ value }) => value !== null);
  const moments = all.map(when);
  const values = all.map(({ value }) => value * factor);
  const margin = Math.max((Math.max(...moments) - Math.min(...moments)) * 0.04, 12 * 3600 * 1000);
  const high = known.shown === percent ? 104 : Math.max(...values, 0) * 1.1 || 1;
  const low = Math.min(0, ...values) - 0.03 * high; // So that a mark at zero is seen whole.
  const made = figure(Bokeh, {
    height: 320, xAxisType: "datetime", xLabel: "Recorded", yLabel: axis,
    xRange: new Models.Range1d({ start: Math.min(...moments) - margin, end: Math.max(...moments) + margin }),
    yRange: new Models.Range1d({ start: low, end: high }),
  });
  channels.forEach(({ points }, place) => {
    const drawn = points.filter(({ value }) => value !== null);
    const source = new Models.ColumnDataSource({ data: { x: drawn.map(when), y: drawn.map(({ value }) => value * factor) } });
    const colour = series[place % series.length];
    made.line({ field: "x" }, { field: "y" }, { source, line_color: colour, line_width: 2, line_dash: DASHES[place % DASHES.length] });
    made.scatter({ field: "x" }, { field: "y" }, { source, marker: MARKERS[place % MARKERS.length], size: 9, fill_color: colour, line_color: colour });
  });
  await shown.show(Bokeh, [made], [target]);
}

function when({ recorded_at: recorded, registered_at: registered }) {
  return new Date(recorded === null ? registered : recorded.replace(/Z?$/, "Z")).getTime();
}

function figures({ channels }, known, scale) {
  const sessions = new Map();
  channels.forEach(({ name, points }) => points.forEach((point) => {
    const row = sessions.get(point.session_id) ?? { point, values: new Map() };
    row.values.set(name, point);
    sessions.set(point.session_id, row);
  }));
  const shown = known.shown ?? ((value) => (value === null ? NOTHING : number(value * scale.factor, 3)));
  const rows = [...sessions.values()].sort((one, other) => when(other.point) - when(one.point));
  return element("section", { class: "card", "aria-labelledby": "figures-title" }, [
    element("h2", { id: "figures-title" }, known.shown ? known.text : scale.axis),
    table(known.text, [
      { head: "Recorded", cell: ({ point }) => element("a", { href: `/sessions/${point.session_id}` }, point.recorded_at === null ? moment(point.registered_at) : localMoment(point.recorded_at)) },
      ...channels.map(({ name }) => ({ head: name, number: true, cell: ({ values }) => (values.has(name) ? shown(values.get(name).value) : NOTHING) })),
      { head: "MVC", cell: ({ point }) => (point.mvc_source === "estimated" ? estimatedBadge(true) : `given for the ${point.mvc_source}`) },
    ], rows, { captionHidden: true }),
  ]);
}

async function empty({ sessions }) {
  const wayOn = sessions === 0 ? ["Trends appear with the first analysed recording. ", ...await wayToAdd()] : "Choose another metric.";
  return element("div", { class: "empty" }, [
    element("p", { class: "empty-title" }, sessions === 0 ? "No analysed sessions yet" : "This figure could not be computed in any session"),
    element("p", {}, wayOn),
  ]);
}
