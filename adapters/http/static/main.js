// Reads the address and fills the page with what belongs there.

import { announce, element, replace } from "./dom.js";
import { ProblemError } from "./api.js";
import { hasToken, signOut } from "./token.js";
import { cachePage } from "./cache_page.js";
import { patientsPage } from "./patients_page.js";
import { sessionPage } from "./session_page.js";
import { sessionsPage } from "./sessions_page.js";
import { signInPage } from "./sign_in_page.js";
import { trendsPage } from "./trends_page.js";

const PAGES = [
  { pattern: /^\/$/, name: "sessions", title: "Sessions", show: sessionsPage },
  { pattern: /^\/sessions\/([^/]+)$/, name: "sessions", title: "Session", show: sessionPage },
  { pattern: /^\/patients$/, name: "patients", title: "Patients", show: patientsPage },
  { pattern: /^\/patients\/([^/]+)$/, name: "patients", title: "Patient", show: trendsPage },
  { pattern: /^\/cache$/, name: "cache", title: "Cache", show: cachePage },
  { pattern: /^\/sign-in$/, name: "sign-in", title: "Sign in", show: signInPage },
];

async function start() {
  const main = document.getElementById("main");
  const path = window.location.pathname;
  const page = PAGES.find(({ pattern }) => pattern.test(path));
  document.title = `${page.title} · Emg-Sessions`;
  document.querySelector(`nav a[data-page="${page.name}"]`)?.setAttribute("aria-current", "page");
  offerSignOut();
  try {
    await page.show(main, ...page.pattern.exec(path).slice(1).map(decodeURIComponent));
  } catch (error) {
    showProblem(main, error);
  }
}

function showProblem(main, error) {
  const known = error instanceof ProblemError;
  if (!known) {
    console.error(error);
  }
  const title = known ? error.title : "This page could not be shown";
  const detail = known ? error.sentence : "Something unforeseen happened in this page. Load it again; if that does not help, tell the operator.";
  replace(main, element("section", { class: "card problem", role: "alert" }, [
    element("h1", {}, title),
    element("p", {}, detail),
    element("p", {}, [element("a", { href: "/" }, "To all sessions")]),
  ]));
  announce(title);
}

function offerSignOut() {
  const item = document.getElementById("sign-out");
  item.hidden = !hasToken();
  item.querySelector("button").addEventListener("click", () => {
    signOut();
    window.location.assign("/sign-in");
  });
}

start();
