// The button that erases a session in whatever state it is, and the question before that.

import { ask, ProblemError, sessionUrl } from "./api.js";
import { element } from "./dom.js";

export function eraseButton(session) {
  const said = element("p", { class: "field-problem", role: "alert" });
  const dialog = element("dialog", { "aria-labelledby": "erase-title" }, [
    element("h2", { id: "erase-title" }, "Erase this session?"),
    element("p", {}, "The recording, its analytics and everything cached of them are erased everywhere. This cannot be undone."),
    said,
    element("div", { class: "dialog-buttons" }, [
      element("button", { type: "button", class: "button button-quiet", onclick: () => dialog.close() }, "Keep it"),
      element("button", { type: "button", class: "button button-danger", onclick: erase }, "Erase it"),
    ]),
  ]);
  return element("div", { class: "erase" }, [
    element("button", { type: "button", class: "button button-quiet", onclick: () => dialog.showModal() }, "Erase this session …"), dialog,
  ]);

  async function erase() {
    try {
      await ask(sessionUrl(session.id), { method: "DELETE" });
      window.location.assign("/");
    } catch (problem) {
      if (!(problem instanceof ProblemError)) {
        throw problem;
      }
      said.textContent = `${problem.title}. ${problem.sentence}`;
    }
  }
}
