// The analytics as tables: channels side by side, and each contraction.

import { element, facts, scrollable, table } from "./dom.js";
import { count, milliseconds, NOTHING, number, percent, seconds } from "./format.js";
import { estimatedBadge } from "./states.js";

const SOURCES = { channel: "given for the channel", session: "given for the session" };
const MANY = 8;

export function channelTable(channels, scale) {
  const amplitude = (value) => (value === null ? NOTHING : number(value * scale.factor, 3));
  const unit = scale.label ? ` (${scale.label})` : "";
  const groups = [
    ["Contractions", [
      ["Contractions", ({ contractions }) => count(contractions.count)],
      ["Good", ({ contractions }) => count(contractions.good)],
      ["Compliance", ({ contractions }) => percent(contractions.compliance_rate)],
      ["Reach the threshold", ({ contractions }) => count(contractions.meets_mvc)],
      ["Last long enough", ({ contractions }) => count(contractions.meets_duration)],
      ["Mean length", ({ contractions }) => milliseconds(contractions.mean_duration_ms)],
      ["Longest", ({ contractions }) => milliseconds(contractions.max_duration_ms)],
      ["Time under tension", ({ contractions }) => seconds(contractions.time_under_tension_ms / 1000)],
    ]],
    ["Maximum voluntary contraction", [
      [`MVC${unit}`, ({ mvc }) => [amplitude(mvc.value), mvc.source === "estimated" ? estimatedBadge() : element("span", { class: "under" }, SOURCES[mvc.source])]],
      [`Threshold${unit}`, ({ mvc }) => [amplitude(mvc.threshold), element("span", { class: "under" }, `${number(mvc.threshold_percent)} % of MVC`)]],
    ]],
    ["Amplitude", [
      [`RMS${unit}`, ({ rms }) => amplitude(rms)],
      [`Mean absolute value${unit}`, ({ mav }) => amplitude(mav)],
      [`Envelope, mean${unit}`, ({ envelope }) => amplitude(envelope.mean)],
      [`Envelope, largest${unit}`, ({ envelope }) => amplitude(envelope.max)],
    ]],
    ["Spectrum", [
      ["Mean power frequency (Hz)", ({ mpf_hz: hz }) => number(hz, 3)],
      ["Median frequency (Hz)", ({ mdf_hz: hz }) => number(hz, 3)],
      ["Fatigue index FInsm5", ({ fi_nsm5: index }) => number(index, 3)],
    ]],
  ];
  const head = element("tr", {}, [element("th", { scope: "col" }, "Metric"), ...channels.map(({ name }) => element("th", { scope: "col", class: "number" }, name))]);
  return scrollable("Metrics by channel", element("table", { class: "metrics" }, [
    element("caption", { class: "visually-hidden" }, "Metrics by channel"),
    element("thead", {}, head),
    ...groups.map(([title, rows]) => element("tbody", {}, [
      element("tr", { class: "group" }, element("th", { scope: "rowgroup", colspan: channels.length + 1 }, title)),
      ...rows.map(([text, cell]) => element("tr", {}, [
        element("th", { scope: "row" }, text), ...channels.map((channel) => element("td", { class: "number" }, cell(channel))),
      ])),
    ])),
  ]));
}

export function contractionTables(channels, scale, show) {
  return channels.map((channel) => {
    const { items } = channel.contractions;
    const title = `${channel.name}: ${items.length === 0 ? "no contractions" : `${items.length} contractions, ${channel.contractions.good} good`}`;
    if (items.length === 0) {
      return element("p", { class: "hint" }, `${title} were found.`);
    }
    return element("details", { open: items.length <= MANY }, [element("summary", {}, title), contractionTable(channel, scale, show)]);
  });
}

function contractionTable({ name, contractions, mvc }, scale, show) {
  const unit = scale.label ? ` (${scale.label})` : "";
  const rows = contractions.items.map((item, place) => ({ ...item, place: place + 1 }));
  return scrollable(`Contractions of ${name}`, table(`Contractions of ${name}`, [
    { head: "No.", cell: ({ place }) => element("button", {
      type: "button", class: "link-button", onclick: () => show(rows[place - 1]), "aria-label": `Show contraction ${place} of ${name} in the plots`,
    }, `${place}`) },
    { head: "Start", number: true, cell: ({ start_ms: ms }) => seconds(ms / 1000, 2) },
    { head: "Length", number: true, cell: ({ duration_ms: ms }) => milliseconds(ms) },
    { head: `Mean${unit}`, number: true, cell: ({ mean_amplitude: value }) => number(value * scale.factor, 3) },
    { head: `Largest${unit}`, number: true, cell: ({ max_amplitude: value }) => number(value * scale.factor, 3) },
    { head: mvc.source === "estimated" ? "Reaches threshold (est.)" : "Reaches threshold", cell: ({ meets_mvc: meets }) => yesNo(meets) },
    { head: "Long enough", cell: ({ meets_duration: meets }) => yesNo(meets) },
    { head: "Good", cell: ({ is_good: good }) => yesNo(good) },
  ], rows, { captionHidden: true }));
}

function yesNo(value) {
  if (value === null) {
    return NOTHING;
  }
  return element("span", { class: value ? "yes" : "no" }, [element("span", { "aria-hidden": "true" }, value ? "✓ " : "✕ "), value ? "yes" : "no"]);
}

const METRICS = [["rms", "RMS", true], ["mav", "Mean absolute value", true], ["mpf_hz", "Mean power frequency (Hz)"], ["mdf_hz", "Median frequency (Hz)"], ["fi_nsm5", "Fatigue index FInsm5"]];

export function windowTables(channels, scale) {
  return channels.map((channel) => {
    const rows = METRICS.map(([key, text, isAmplitude]) => {
      const factor = isAmplitude ? scale.factor : 1;
      return { text: isAmplitude && scale.label ? `${text} (${scale.label})` : text, factor, ...channel.windows[key] };
    });
    const shown = (key) => ({ [key]: value, factor }) => (value === null ? NOTHING : number(value * factor, 3));
    return scrollable(`Windows of ${channel.name}`, table(`${channel.name}: ${channel.windows.rms.count} windows`, [
      { head: "Metric", cell: ({ text }) => text },
      { head: "Mean", number: true, cell: shown("mean") },
      { head: "Std. dev.", number: true, cell: shown("std") },
      { head: "Least", number: true, cell: shown("min") },
      { head: "Largest", number: true, cell: shown("max") },
      { head: "Variation", number: true, cell: ({ cv }) => percent(cv) },
    ], rows));
  });
}

export function parameterFacts(parameters) {
  return facts(Object.entries(parameters).map(([name, value]) => [name.replaceAll("_", " "), parameterText(value)]));
}

function parameterText(value) {
  if (value === null) {
    return "none";
  }
  if (Array.isArray(value)) {
    return value.length === 0 ? "by label and unit" : value.join(", ");
  }
  if (typeof value === "object") {
    const pairs = Object.entries(value);
    return pairs.length === 0 ? "none" : pairs.map(([name, one]) => `${name} ${number(one)}`).join(", ");
  }
  return typeof value === "number" ? number(value) : String(value);
}
