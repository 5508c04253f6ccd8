// One session: what became of its recording, its signals, and what the analysis found.

import { ended, ProblemError, withoutName } from "./api.js";
import { announce, element, facts, heading, replace } from "./dom.js";
import { eraseButton } from "./erase_button.js";
import { firstRequests } from "./first_requests.js";
import { follow, isDone } from "./follow.js";
import { amplitudes, bytes, duration, localMoment, moment, number, percent } from "./format.js";
import { channelTable, contractionTables, parameterFacts, windowTables } from "./analytics_tables.js";
import { SignalPlots } from "./signal_plots.js";
import { signalControls } from "./signal_controls.js";
import { estimatedBadge, stateBadge, stateMeaning } from "./states.js";
import { View } from "./view.js";

const FIRST = { raw: true, envelope: true, activated: false, contractions: true };

export async function showPage(main, id) {
  const { session: asked, analytics, signals, viewer } = firstRequests(id);
  const { value: session, problem } = await asked;
  if (problem) {
    throw problem;
  }
  if (session.id !== id) {
    window.location.replace(`/sessions/${session.id}`); // A duplicate's session is that of its recording.
    return;
  }
  if (session.state !== "completed") {
    await unfinished(main, session, await viewer);
    return;
  }
  const found = await analytics;
  if (found.problem) {
    throw found.problem;
  }
  await finished(main, session, found.value, signals, await viewer);
}

async function unfinished(main, session, { may_erase: mayErase }) {
  const place = element("div", { class: "state-place" });
  const bar = element("progress", { max: "1", value: session.progress, "aria-label": "Progress of the analysis" });
  const said = element("p", {});
  replace(main, pageHead(session, place), element("section", { class: "card", "aria-labelledby": "progress-title" }, [
    element("h2", { id: "progress-title" }, "Processing"), bar, said, mayErase ? eraseButton(session) : null,
  ]));
  tell(session);
  if (!isDone(session.state)) {
    const last = await follow(session.id, tell);
    announce(stateMeaning(last.state));
    if (last.state !== "failed") {
      window.location.reload();
    }
  }

  function tell(now) {
    replace(place, stateBadge(now));
    bar.value = now.progress;
    bar.hidden = isDone(now.state);
    said.textContent = now.failure === null ? stateMeaning(now.state) : `It could not be analysed: ${ended(withoutName(now.failure, session.file_name))}`;
  }
}

async function finished(main, session, analytics, signals, { may_erase: mayErase, may_upload: mayUpload }) {
  const { channels, recording, parameters } = analytics;
  const largest = Math.max(0, ...channels.map(({ envelope, contractions }) => Math.max(envelope.max ?? 0, contractions.max_amplitude ?? 0)));
  const scale = amplitudes(largest, recording.amplitude_unit);
  const view = new View(recording.duration_s);
  const plotted = element("section", { class: "card signals", "aria-labelledby": "signals-title" }, [
    element("h2", { id: "signals-title" }, "Signals"), element("p", { class: "hint" }, "Loading signals …"),
  ]);
  replace(main,
    pageHead(session, stateBadge(session)),
    overviewCard(session, analytics),
    mayUpload ? measuredHint(channels) : null,
    problemsCard(channels),
    plotted);
  // The plots go first if their signals are there already; if not, the tables fill the time.
  whenIdle(() => main.append(
    element("section", { class: "card", "aria-labelledby": "channels-title" }, [
      element("h2", { id: "channels-title" }, "Channels"), channelTable(channels, scale),
    ]),
    element("section", { class: "card", "aria-labelledby": "contractions-title" }, [
      element("h2", { id: "contractions-title" }, "Contractions"),
      ...contractionTables(channels, scale, (item) => {
        const margin = Math.max(0.3, (item.end_ms - item.start_ms) / 2000);
        view.show(item.start_ms / 1000 - margin, item.end_ms / 1000 + margin);
        plotted.scrollIntoView({ block: "start" });
      }),
    ]),
    detailsCard(analytics, scale, parameters, mayErase ? eraseButton(session) : null)));
  await draw(plotted, { session, channels, view, scale, signals });
}

function whenIdle(act) {
  if (window.requestIdleCallback) {
    window.requestIdleCallback(act, { timeout: 500 });
  } else {
    window.setTimeout(act, 100);
  }
}

async function draw(plotted, { session, channels, view, scale, signals }) {
  const title = plotted.firstElementChild;
  const first = await signals;
  if (first.problem) {
    const known = first.problem instanceof ProblemError;
    replace(plotted, title, element("p", { class: "notice", role: "alert" }, known
      ? [`The signals cannot be shown. ${first.problem.sentence} `, "The figures below are not affected."]
      : "The signals cannot be shown, for a reason that nobody foresaw. The figures below are not affected."));
    if (!known) {
      console.error(first.problem);
    }
    return;
  }
  const drawable = channels.filter(({ name }) => first.value.signals.has(`${name}/raw`));
  const controls = signalControls({ channels: drawable, view, scale, shown: FIRST, choose: (shown) => plots.choose(shown),
    showFullHeight: (full) => plots.showFullHeight(full) });
  const plots = new SignalPlots({
    id: session.id, channels: drawable, places: controls.places, view, shown: FIRST, scale, overview: first.value, onFetching: controls.fetching,
    onCutting: controls.cutting,
  });
  replace(plotted, title, controls.whole);
  await plots.draw();
  await new Promise((resolve) => { window.requestAnimationFrame(() => window.setTimeout(resolve)); });
  performance.mark("plots-visible");
  plotted.dataset.drawn = "true";
}

function pageHead(session, state) {
  const code = session.patient_code;
  const name = session.recorded_at === null ? `Session of ${moment(session.registered_at)}` : `Session of ${localMoment(session.recorded_at)}`;
  return element("div", { class: "page-head" }, [
    element("p", { class: "crumbs" }, [element("a", { href: "/" }, "Sessions"), code === null ? null : [
      element("span", { "aria-hidden": "true" }, " / "), element("a", { href: `/patients/${encodeURIComponent(code)}` }, `Patient ${code}`)]].flat()),
    element("div", { class: "title-line" }, [heading(name), state]),
    element("p", { class: "under file-name" }, session.file_name),
  ]);
}

function overviewCard(session, { channels, recording, summary }) {
  const sum = (name) => channels.reduce((total, { contractions }) => total + contractions[name], 0);
  const estimated = channels.some(({ mvc }) => mvc.source === "estimated");
  const tiles = [
    ["Compliance", percent(summary.overall_compliance), ["mean over channels ", estimated ? estimatedBadge(true) : null]],
    ["Good contractions", `${sum("good")} of ${sum("count")}`, `in ${channels.length === 1 ? "1 channel" : `${channels.length} channels`}`],
    ["Time under tension", `${number(sum("time_under_tension_ms") / 1000, 3)} s`, "all channels together"],
    ["Length", duration(recording.duration_s), `${number(recording.sampling_rate_hz, 4)} Hz`],
  ];
  return element("section", { class: "tiles", "aria-label": "In brief" }, tiles.map(([name, value, note]) =>
    element("div", { class: "tile" }, [element("p", { class: "tile-name" }, name), element("p", { class: "tile-value" }, value), element("p", { class: "tile-note" }, note)])));
}

function measuredHint(channels) {
  return channels.every(({ mvc }) => mvc.source !== "estimated") ? null : element("p", { class: "hint" }, [
    "Was the maximum voluntary contraction (MVC) measured? Then upload this recording again, with its value under ",
    element("a", { href: "/#upload-mvc" }, "Measured MVC"), "; it is analysed anew with that.",
  ]);
}

function problemsCard(channels) {
  const told = channels.filter(({ problems }) => problems.length > 0);
  return told.length === 0 ? null : element("section", { class: "notice", "aria-label": "Problems of the recording" },
    told.map(({ name, problems }) => element("p", {}, [element("strong", {}, `${name}: `), problems.join("; ")])));
}

function detailsCard(analytics, scale, parameters, last) {
  const { recording, summary } = analytics;
  return element("section", { class: "card", "aria-labelledby": "details-title" }, [
    element("h2", { id: "details-title" }, "Details"),
    facts([
      ["Recorded", localMoment(recording.recorded_at)],
      ["Analysed", moment(summary.processed_at)],
      ["File", `${recording.file_name} (${bytes(recording.size_bytes)})`],
      ["System", recording.system],
      ["Amplitude unit", recording.amplitude_unit ?? "The recording declares none"],
      ["SHA-256", element("code", {}, recording.sha256)],
    ]),
    element("details", {}, [element("summary", {}, "Windows of one second"), ...windowTables(analytics.channels, scale)]),
    element("details", {}, [element("summary", {}, "Parameters of the analysis"), parameterFacts(parameters)]),
    Object.keys(recording.game).length === 0 ? null : element("details", {}, [
      element("summary", {}, "Game"), facts(Object.entries(recording.game).map(([name, value]) => [name.replaceAll("_", " "), String(value)])),
    ]),
    last,
  ]);
}
