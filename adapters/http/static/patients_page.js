// Patients, as far as the newest sessions name them, and a field for any other.

import { askJson, sessionsUrl } from "./api.js";
import { element, heading, replace, table } from "./dom.js";
import { localMoment, moment, plural } from "./format.js";

const LOOKED_AT = 200;

export async function showPage(main) {
  const answer = await askJson(sessionsUrl({ limit: LOOKED_AT }));
  const patients = new Map();
  for (const session of answer.sessions.filter(({ patient_code: code }) => code !== null)) {
    const known = patients.get(session.patient_code);
    patients.set(session.patient_code, { code: session.patient_code, sessions: (known?.sessions ?? 0) + 1, newest: known?.newest ?? session });
  }
  const rows = [...patients.values()].sort((one, other) => one.code.localeCompare(other.code, "en", { numeric: true }));
  const input = element("input", { id: "code", name: "code", required: true, maxlength: 100, autocomplete: "off", placeholder: "P042" });
  replace(main,
    element("div", { class: "page-head" }, heading("Patients")),
    element("section", { class: "card", "aria-label": "Patients" }, [
      element("form", { class: "filters", onsubmit: open }, [
        element("label", { for: "code" }, "Patient code"), input, element("button", { type: "submit", class: "button" }, "Show trends"),
      ]),
      rows.length === 0 ? empty() : table("Patients of the newest sessions", [
        { head: "Patient", cell: ({ code }) => element("a", { href: `/patients/${encodeURIComponent(code)}` }, code) },
        { head: "Sessions", number: true, cell: ({ sessions }) => plural(sessions, "session") },
        { head: "Newest", cell: ({ newest }) => (newest.recorded_at === null ? moment(newest.registered_at) : localMoment(newest.recorded_at)) },
      ], rows, { captionHidden: true }),
      answer.next_cursor === null ? null : element("p", { class: "hint" }, `Of the newest ${LOOKED_AT} sessions. Others are found by their code.`),
    ]));

  function open(event) {
    event.preventDefault();
    window.location.assign(`/patients/${encodeURIComponent(input.value.trim())}`);
  }
}

function empty() {
  return element("div", { class: "empty" }, [
    element("p", { class: "empty-title" }, "No patients yet"),
    element("p", {}, ["A patient appears here with the first recording that is uploaded under a patient code. ", element("a", { href: "/" }, "Add a recording"), "."]),
  ]);
}
