// Reads the address and fills the page with what belongs there.

import { announce, element, replace } from "./dom.js";
import { ProblemError } from "./api.js";
import { hasToken, signOut } from "./token.js";

// Each page is a module of its own with a function `showPage`; a page loads no other's.
const PAGES = [
  { pattern: /^\/$/, name: "sessions", title: "Sessions", load: () => import("./sessions_page.js") },
  { pattern: /^\/sessions\/([^/]+)$/, name: "sessions", title: "Session", load: () => import("./session_page.js") },
  { pattern: /^\/patients$/, name: "patients", title: "Patients", load: () => import("./patients_page.js") },
  { pattern: /^\/patients\/([^/]+)$/, name: "patients", title: "Patient", load: () => import("./trends_page.js") },
  { pattern: /^\/cache$/, name: "cache", title: "Cache", load: () => import("./cache_page.js") },
  { pattern: /^\/sign-in$/, name: "sign-in", title: "Sign in", load: () => import("./sign_in_page.js") },
];

async function start() {
  const main = document.getElementById("main");
  const path = window.location.pathname;
  const page = PAGES.find(({ pattern }) => pattern.test(path));
  offerSignOut();
  if (page === undefined) {
    showProblem(main, new ProblemError(404, "There is no such page", "The address may be mistyped, or of a page that is no more."));
    return;
  }
  document.title = `${page.title} · Emg-Sessions`;
  document.querySelector(`nav a[data-page="${page.name}"]`)?.setAttribute("aria-current", "page");
  try {
    const { showPage } = await page.load();
    await showPage(main, ...page.pattern.exec(path).slice(1).map(decodeURIComponent));
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
  document.title = `${title} · Emg-Sessions`;
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
