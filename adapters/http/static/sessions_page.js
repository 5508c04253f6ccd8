// All sessions, the last that arrived first, with their states as they change; and the place where recordings are dropped.

import { askJson, sessionsUrl, withoutName } from "./api.js";
import { announce, element, heading, replace, table } from "./dom.js";
import { isDone } from "./follow.js";
import { duration, localMoment, moment, NOTHING, percent, plural } from "./format.js";
import { estimatedBadge, stateBadge, stateWord } from "./states.js";
import { uploadPanel } from "./upload_panel.js";
import { whoLooks } from "./viewer.js";

const PAGE = 50;
const LOOK_AGAIN_MS = 1500;
const LOOK_AGAIN_IDLE_MS = 15000;

export async function showPage(main) {
  const query = new URLSearchParams(window.location.search);
  const wanted = { patient_code: (query.get("patient") ?? "").trim(), state: query.get("state") ?? "" };
  const list = element("div", { class: "list", "aria-busy": "true" }, element("p", { class: "hint" }, "Loading sessions …"));
  const more = element("button", { type: "button", class: "button button-quiet", hidden: true, onclick: () => showMore() }, "Show older sessions");
  const sessions = new Map();
  let cursor = null;
  let states = new Map();
  const first = fetchPage();
  first.catch(() => {}); // Whoever awaits it below tells what went wrong.
  const { may_upload: mayUpload } = await whoLooks();

  replace(main,
    element("div", { class: "page-head" }, heading("Sessions")),
    mayUpload ? uploadPanel(refresh) : null,
    element("section", { class: "card", "aria-labelledby": "list-title" }, [
      element("div", { class: "card-head" }, [element("div", {}, [element("h2", { id: "list-title" }, "Recordings"), element("p", { class: "hint" }, "Last arrived first")]), filters(wanted)]),
      list,
      more,
    ]));

  if (window.location.hash === "#upload-mvc") { // Which was not there yet when the browser looked for it.
    document.getElementById("upload-mvc")?.focus();
  }

  const page = await first;
  cursor = page.next_cursor;
  const meant = page.sessions.length === 0 ? await inAnotherCase(wanted) : [];
  show();
  watch();

  async function fetchPage(after) {
    const asked = { limit: PAGE, ...Object.fromEntries(Object.entries(wanted).filter(([, value]) => value)) };
    const answer = await askJson(sessionsUrl(after ? { ...asked, cursor: after } : asked));
    if (!after) {
      // Whatever was erased meanwhile is no longer among the newest.
      const oldest = answer.sessions.at(-1)?.registered_at ?? "";
      for (const [id, session] of sessions) {
        if (answer.next_cursor === null || session.registered_at >= oldest) {
          sessions.delete(id);
        }
      }
    }
    answer.sessions.forEach((session) => sessions.set(session.id, session));
    return answer;
  }

  async function refresh() {
    await fetchPage();
    show();
  }

  async function showMore() {
    const answer = await fetchPage(cursor);
    cursor = answer.next_cursor;
    show();
    announce(`${plural(sessions.size, "session")} shown`);
  }

  function show() {
    const rows = [...sessions.values()].sort((one, other) => (one.registered_at < other.registered_at ? 1 : -1));
    tellChanges(rows);
    list.setAttribute("aria-busy", "false");
    more.hidden = cursor === null;
    keepingFocus(list, () => replace(list, rows.length > 0 ? sessionsTable(rows) : empty(wanted, mayUpload, meant)));
  }

  function tellChanges(rows) {
    const changed = rows.filter(({ id, state }) => states.has(id) && states.get(id) !== state);
    states = new Map(rows.map(({ id, state }) => [id, state]));
    if (changed.length > 0) {
      announce(changed.map((session) => `${session.file_name}: ${stateWord(session.state)}`).join(". "));
    }
  }

  async function watch() {
    for (;;) {
      const unfinished = [...sessions.values()].some(({ state }) => !isDone(state));
      await new Promise((resolve) => { window.setTimeout(resolve, unfinished ? LOOK_AGAIN_MS : LOOK_AGAIN_IDLE_MS); });
      if (document.visibilityState === "visible") {
        await refresh().catch(() => {}); // The list stays as it was; the next look may succeed.
      }
    }
  }
}

// Rows are drawn anew; whoever stood on a link in one of them still does.
function keepingFocus(list, redraw) {
  const href = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  redraw();
  if (href !== null) {
    list.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus();
  }
}

function filters(wanted) {
  return element("form", { class: "filters", method: "get", action: "/", onchange: (event) => event.currentTarget.requestSubmit() }, [
    element("label", { for: "filter-patient" }, "Patient"),
    element("input", { id: "filter-patient", name: "patient", value: wanted.patient_code, placeholder: "all", autocomplete: "off", maxlength: 100, size: 10 }),
    element("label", { for: "filter-state" }, "State"),
    element("select", { id: "filter-state", name: "state" }, ["", "received", "processing", "completed", "failed"].map((state) =>
      element("option", { value: state, selected: state === wanted.state }, state === "" ? "all" : stateWord(state)))),
  ]);
}

// Codes that differ from the one asked for in nothing but their case, and have sessions.
async function inAnotherCase(wanted) {
  const { patient_code: code } = wanted;
  const others = new Set([code.toUpperCase(), code.toLowerCase()].filter((other) => other !== code));
  const asked = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value));
  const answers = await Promise.all([...others].map(async (other) =>
    ({ other, answer: await askJson(sessionsUrl({ ...asked, patient_code: other, limit: 1 })).catch(() => null) })));
  return answers.filter(({ answer }) => answer?.sessions.length > 0).map(({ other }) => other);
}

function empty(wanted, mayUpload, meant) {
  if (wanted.patient_code || wanted.state) {
    return element("div", { class: "empty" }, [
      element("p", { class: "empty-title" }, "No session is like that"),
      wanted.patient_code ? element("p", {}, ["Codes differ by upper and lower case, too. ", ...meant.flatMap((code) =>
        ["There are sessions of ", element("a", { href: `/?${new URLSearchParams({ patient: code, state: wanted.state })}` }, code), ". "])]) : null,
      element("p", {}, ["Choose another patient or state, or ", element("a", { href: "/" }, "show all sessions"), "."]),
    ]);
  }
  return element("div", { class: "empty" }, [
    element("p", { class: "empty-title" }, "No sessions yet"),
    element("p", {}, mayUpload
      ? "Drop a C3D recording into the field above, or choose a file there. It is analysed at once, and its session appears here."
      : "Therapists and administrators add recordings; their sessions appear here."),
  ]);
}

function sessionsTable(rows) {
  return table("Sessions, last arrived first", [
    { head: "Recorded", cell: (session) => [
      element("a", { href: `/sessions/${session.id}`, class: "row-link" }, [
        session.recorded_at === null ? "Time not known" : localMoment(session.recorded_at),
        element("span", { class: "under" }, session.file_name),
      ]),
      element("span", { class: "under" }, `Arrived ${moment(session.registered_at)}`),
    ] },
    { head: "Patient", cell: ({ patient_code: code }) =>
      (code === null ? NOTHING : element("a", { href: `/patients/${encodeURIComponent(code)}` }, code)) },
    { head: "State", cell: (session) => [stateBadge(session), session.failure === null ? null : element("span", { class: "under" }, withoutName(session.failure, session.file_name))] },
    { head: "Length", number: true, cell: ({ analytics }) => duration(analytics?.duration_s) },
    { head: "Good contractions", number: true, cell: ({ analytics }) => goodOfAll(analytics) },
    { head: "Compliance", note: "mean over channels", number: true, cell: ({ analytics }) => [
      element("span", { class: "figure" }, percent(analytics?.overall_compliance)),
      analytics?.channels.some(({ mvc_source: source }) => source === "estimated") ? estimatedBadge(true) : null,
    ] },
  ], rows, { captionHidden: true });
}

function goodOfAll(analytics) {
  if (!analytics) {
    return NOTHING;
  }
  const sum = (name) => analytics.channels.reduce((total, channel) => total + channel[name], 0);
  return `${sum("good_contractions")} of ${sum("contractions")}`;
}

