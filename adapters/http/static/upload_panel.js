// The place where recordings are dropped or chosen, and what becomes of each: bytes sent, analysis, session.

import { ended, ProblemError, problemFrom, RECORDINGS, withoutName } from "./api.js";
import { announce, element, replace } from "./dom.js";
import { follow } from "./follow.js";
import { bytes } from "./format.js";
import { authorization } from "./token.js";

const NAME = /\.c3d$/i;
const CODE = "Only letters from A to Z, digits, dots, hyphens and underscores; a letter or digit first.";

export function uploadPanel(changed) {
  const uploads = element("ul", { class: "uploads", "aria-label": "Uploads" });
  const patient = element("input", {
    id: "upload-patient", name: "patient", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", maxlength: 64,
    pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}", placeholder: "P042", title: CODE, "aria-describedby": "upload-patient-wrong upload-patient-help",
    onchange: anotherPatient, oninput: () => refuseCode(false),
  });
  const wrongCode = element("p", { id: "upload-patient-wrong", class: "field-problem" });
  const mvc = element("input", {
    id: "upload-mvc", name: "mvc", autocomplete: "off", spellcheck: "false", maxlength: 4000, placeholder: "CH1=0.0003, CH2=0.00041",
    "aria-describedby": "upload-mvc-help",
  });
  const input = element("input", { id: "upload-files", type: "file", accept: ".c3d", multiple: true, class: "visually-hidden", onchange: chosen });
  const zone = element("div", { class: "drop-zone" }, [
    element("p", { class: "drop-title" }, ["Drop C3D recordings here", element("span", { class: "drop-or" }, " or ")]),
    input,
    element("label", { for: "upload-files", class: "button" }, "Choose files"),
  ]);
  const queue = [];
  let under = 0;
  let measured = ""; // Whose values stand in the form.

  dropAnywhere(zone, take);
  window.addEventListener("beforeunload", (event) => {
    if (under + queue.length > 0) {
      event.preventDefault(); // The browser asks whether the upload shall be given up.
    }
  });

  return element("section", { class: "card upload", "aria-labelledby": "upload-title" }, [
    element("h2", { id: "upload-title" }, "Add recordings"),
    element("div", { class: "upload-fields" }, [
      element("div", { class: "upload-texts" }, [
        element("div", { class: "field" }, [
          element("label", { for: "upload-patient" }, "Patient code"),
          patient,
          wrongCode,
          element("p", { id: "upload-patient-help", class: "hint" }, "A pseudonym, never a name. May be left empty by administrators."),
        ]),
        element("div", { class: "field" }, [
          element("label", { for: "upload-mvc" }, "Measured MVC"),
          mvc,
          element("p", { id: "upload-mvc-help", class: "hint" }, "In the recording's unit: by channel, or one value for all. Empty: as set up, or estimated."),
        ]),
      ]),
      zone,
    ]),
    uploads,
  ]);

  // What was measured with one patient must not go with another's recordings.
  function anotherPatient() {
    if (measured !== "" && measured !== patient.value) {
      mvc.value = "";
    }
    measured = patient.value;
  }

  function refuseCode(isWrong) {
    wrongCode.textContent = isWrong ? `This is no patient code. ${CODE}` : "";
    patient.setAttribute("aria-invalid", String(isWrong));
  }

  function chosen() {
    take([...input.files]);
    input.value = "";
  }

  function take(files) {
    patient.value = patient.value.trim();
    refuseCode(!patient.checkValidity());
    if (wrongCode.textContent !== "") {
      patient.focus();
      announce(`${wrongCode.textContent} Nothing was uploaded.`);
      return;
    }
    for (const file of files) {
      queue.push({ file, patient: patient.value, mvc: mvc.value.trim(), row: new UploadRow(uploads, file) });
    }
    next();
  }

  // One at a time: each arrives sooner, and the analysis of the first begins while the second is sent.
  async function next() {
    if (under > 0 || queue.length === 0) {
      return;
    }
    const { file, row, ...fields } = queue.shift();
    under += 1;
    let taken = null;
    try {
      if (!NAME.test(file.name)) {
        throw new ProblemError(0, "Not a C3D file", "only files whose names end in .c3d are recordings");
      }
      taken = await send(file, fields, (share) => row.sending(share));
    } catch (error) {
      row.refused(error);
    } finally {
      under -= 1;
    }
    next();
    if (taken !== null) {
      changed().catch(() => {});
      await watched(taken, row);
      changed().catch(() => {});
    }
  }

  async function watched(taken, row) {
    if (taken.status === "known") {
      row.known(taken.session_id);
      return;
    }
    try {
      row.done(taken.session_id, await follow(taken.session_id, (event) => row.analysing(event)));
    } catch (error) {
      row.refused(error);
    }
  }
}

class UploadRow {
  constructor(list, file) {
    this.name = file.name;
    this.progress = element("progress", { max: "100", value: "0", "aria-label": `Progress of ${file.name}` });
    this.said = element("p", { class: "upload-said" }, "Waits for its turn");
    this.item = element("li", { class: "upload-row" }, [
      element("p", { class: "upload-name" }, [file.name, element("span", { class: "under" }, bytes(file.size))]),
      this.progress,
      this.said,
    ]);
    list.prepend(this.item);
  }

  sending(share) {
    this.progress.value = 50 * share;
    this.said.textContent = `Sending, ${Math.round(100 * share)} %`;
  }

  analysing({ state, progress }) {
    this.progress.value = 50 + 50 * progress;
    this.said.textContent = state === "processing" ? `Analysing, ${Math.round(100 * progress)} %` : "Received; waits for a worker";
  }

  done(id, { state, failure, same_as: other }) {
    this.progress.remove();
    if (state === "failed") {
      this.item.classList.add("is-refused");
      this.tell(`Could not be analysed: ${ended(withoutName(failure ?? "no reason is known", this.name))}`);
    } else if (state === "duplicate") {
      this.tell("These bytes are known already: ", this.link(other, "open their session"));
    } else {
      this.item.classList.add("is-done");
      this.tell("Analysed: ", this.link(id, "open the session"));
    }
  }

  known(id) {
    this.progress.remove();
    this.item.classList.add("is-done");
    this.tell("This recording was received before: ", this.link(id, "open its session"));
  }

  refused(error) {
    this.progress.remove();
    this.item.classList.add("is-refused");
    this.tell(error instanceof ProblemError ? `${error.title}. ${error.about(this.name).sentence}` : "The upload failed for a reason that nobody foresaw.");
  }

  tell(...words) {
    replace(this.said, ...words);
    announce(`${this.name}: ${this.said.textContent}`);
  }

  link(id, text) {
    return element("a", { href: `/sessions/${id}` }, text);
  }
}

// With XMLHttpRequest, because fetch does not tell how much of a body was sent.
function send(file, fields, told) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    form.append(name, value); // Before the file: the service reads the form while it arrives.
  }
  form.append("file", file, file.name);
  const request = new XMLHttpRequest();
  request.open("POST", RECORDINGS);
  Object.entries(authorization()).forEach(([name, value]) => request.setRequestHeader(name, value));
  return new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => told(total > 0 ? loaded / total : 0));
    request.addEventListener("load", () => {
      if (request.status === 200 || request.status === 202) {
        resolve(JSON.parse(request.responseText));
      } else {
        reject(problemFrom(request.status, request.responseText));
      }
    });
    request.addEventListener("error", () => reject(new ProblemError(0, "The upload broke off", "look whether the service runs and this machine is connected, and try again")));
    request.send(form);
  });
}

function dropAnywhere(zone, take) {
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) {
      event.preventDefault();
      zone.classList.add("is-over");
    }
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) {
      zone.classList.remove("is-over");
    }
  });
  document.addEventListener("drop", (event) => {
    if (holdsFiles(event)) {
      event.preventDefault();
      zone.classList.remove("is-over");
      take([...event.dataTransfer.files]);
    }
  });
}
