// Takes a token and keeps it for this tab.

import { element, heading, replace } from "./dom.js";
import { signIn, signOut } from "./token.js";
import { askJson, sessionsUrl } from "./api.js";

export async function showPage(main) {
  const query = new URLSearchParams(window.location.search);
  const wrong = element("p", { id: "token-wrong", class: "field-problem", role: "alert" });
  const input = element("textarea", {
    id: "token", name: "token", rows: "4", required: true, spellcheck: "false", autocomplete: "off", autocapitalize: "off",
    "aria-describedby": "token-help token-wrong",
  });
  const form = element("form", { class: "stack", onsubmit: submit }, [
    element("label", { for: "token" }, "Access token"),
    input,
    element("p", { id: "token-help", class: "hint" }, "Paste the JSON Web Token that your administrator or your sign-in service gave you (on a machine of your own, emg-sessions token makes one). It is kept in this tab alone, and forgotten when you close it."),
    wrong,
    element("button", { type: "submit", class: "button" }, "Sign in"),
  ]);
  replace(main, element("section", { class: "card narrow" }, [
    heading("Sign in"),
    query.has("expired")
      ? element("p", { class: "notice" }, "Your token is no longer valid. Please sign in again.")
      : element("p", {}, "This service shows sessions to people it knows."),
    form,
  ]));
  input.focus();

  async function submit(event) {
    event.preventDefault();
    wrong.textContent = "";
    const token = input.value.trim().replace(/^Bearer\s+/i, "");
    if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) {
      refuse("This is no JSON Web Token: one has three parts with dots between them.");
      return;
    }
    signIn(token);
    try {
      await askJson(sessionsUrl({ limit: 1 }));
    } catch (problem) {
      signOut();
      refuse(problem.status === 401 ? `The service does not accept this token. ${problem.sentence}` : problem.sentence);
      return;
    }
    window.location.assign(safe(query.get("next")));
  }

  function refuse(text) {
    wrong.textContent = text;
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }
}

// Only addresses of our own: whoever makes up a link to this page must not send people elsewhere with it.
function safe(next) {
  const address = new URL(next ?? "/", window.location.origin);
  return address.origin === window.location.origin && address.pathname !== "/sign-in" ? address.pathname + address.search : "/";
}
