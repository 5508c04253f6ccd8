// The patients whose sessions may be seen, a page at a time, and a field for whoever is quicker with a code.

import { askJson, patientsUrl } from "./api.js";
import { announce, element, heading, replace, table } from "./dom.js";
import { localMoment, moment, plural } from "./format.js";
import { wayToAdd } from "./viewer.js";

const PAGE = 100;

export async function showPage(main) {
  const patients = [];
  let cursor = null;
  const list = element("div", { class: "list" });
  const more = element("button", { type: "button", class: "button button-quiet", hidden: true, onclick: () => showMore() }, "Show more patients");
  const input = element("input", { id: "code", name: "code", required: true, maxlength: 100, autocomplete: "off", placeholder: "P042" });
  await fetchPage();
  replace(main,
    element("div", { class: "page-head" }, heading("Patients")),
    element("section", { class: "card", "aria-label": "Patients" }, [
      element("form", { class: "filters", onsubmit: open }, [
        element("label", { for: "code" }, "Patient code"), input, element("button", { type: "submit", class: "button" }, "Show trends"),
      ]),
      list,
      more,
    ]));

  async function fetchPage() {
    const page = await askJson(patientsUrl(cursor === null ? { limit: PAGE } : { limit: PAGE, cursor }));
    patients.push(...page.patients);
    cursor = page.next_cursor;
    more.hidden = cursor === null;
    replace(list, patients.length === 0 ? empty(await wayToAdd()) : patientsTable(patients));
  }

  async function showMore() {
    await fetchPage();
    announce(`${plural(patients.length, "patient")} shown`);
  }

  function open(event) {
    event.preventDefault();
    window.location.assign(`/patients/${encodeURIComponent(input.value.trim())}`);
  }
}

// The service orders codes letter by letter; people want P2 before P10.
function patientsTable(patients) {
  const rows = [...patients].sort((one, other) => one.patient_code.localeCompare(other.patient_code, "en", { numeric: true }));
  return table("Patients", [
    { head: "Patient", cell: ({ patient_code: code }) => element("a", { href: `/patients/${encodeURIComponent(code)}` }, code) },
    { head: "Sessions", number: true, cell: ({ sessions }) => plural(sessions, "session") },
    { head: "Newest", cell: ({ last_recorded_at: recorded, last_registered_at: registered }) => (recorded === null ? moment(registered) : localMoment(recorded)) },
  ], rows, { captionHidden: true });
}

function empty(wayOn) {
  return element("div", { class: "empty" }, [
    element("p", { class: "empty-title" }, "No patients yet"),
    element("p", {}, ["A patient appears here with the first recording that is uploaded under a patient code. ", ...wayOn]),
  ]);
}
