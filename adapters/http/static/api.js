// Asks the service. What goes wrong is a ProblemError with a title and a sentence for people.

import { authorization, hasToken } from "./token.js";

const API = "/api/v1";
const SETTINGS = / \([A-Z]+(?:_[A-Z]+)+(?:, [A-Z_]+)*\)/g;
const TITLES = { 413: "The file is too large" }; // Of the few whose own are for programmers.

export class ProblemError extends Error {
  constructor(status, title, detail) {
    super(title);
    this.status = status;
    this.title = title;
    this.detail = detail;
  }

  // The same problem where the file's name stands already.
  about(fileName) {
    return new ProblemError(this.status, this.title, this.detail && withoutName(this.detail, fileName));
  }

  // Settings, which a problem names for operators, are left out.
  get sentence() {
    return sentence((this.detail ?? this.title).replace(SETTINGS, ""));
  }
}

export async function ask(path, { method = "GET", headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(path, { method, headers: { ...authorization(), ...headers }, signal });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new ProblemError(0, "The service does not answer", "Look whether the service runs and whether this machine is connected, and load the page again.");
  }
  if (!response.ok) {
    throw await problemOf(response);
  }
  return response;
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

async function problemOf(response) {
  return problemFrom(response.status, await response.text());
}

export function problemFrom(status, text) {
  let document = {};
  try {
    document = JSON.parse(text);
  } catch {
    // A proxy in between may answer in its own words, which are not for people.
  }
  if (status === 401) {
    askToSignIn();
  }
  const wrong = (document.errors ?? []).map(({ name, detail }) => `${name}: ${detail}`).join("; ");
  const explained = EXPLAINED[status] ?? null;
  return new ProblemError(status, TITLES[status] ?? document.title ?? `The service answered with status ${status}`, wrong || document.detail || explained);
}

const EXPLAINED = {
  404: "It may have been erased, or it belongs to somebody else's patient.",
  413: "The file is larger than this service takes.",
};

function askToSignIn() {
  if (window.location.pathname !== "/sign-in") {
    const back = window.location.pathname + window.location.search;
    const why = hasToken() ? "&expired=1" : "";
    window.location.replace(`/sign-in?next=${encodeURIComponent(back)}${why}`);
  }
}

export function sentence(text) {
  return ended(text.charAt(0).toUpperCase() + text.slice(1));
}

export function ended(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

// Reasons begin with the file that they are of, for logs and lists. Where its name stands already, it is not said again.
export function withoutName(reason, fileName) {
  return reason.startsWith(`${fileName}: `) ? reason.slice(fileName.length + 2) : reason;
}

export const sessionUrl = (id) => `${API}/sessions/${encodeURIComponent(id)}`;
export const sessionsUrl = (query) => `${API}/sessions?${new URLSearchParams(query)}`;
export const signalsUrl = (id, query) => `${sessionUrl(id)}/signals/all?${new URLSearchParams(query)}`;
export const patientsUrl = (query) => `${API}/patients?${new URLSearchParams(query)}`;
export const trendsUrl = (code, query) => `${API}/patients/${encodeURIComponent(code)}/trends?${new URLSearchParams(query)}`;
export const VIEWER = `${API}/viewer`;
export const RECORDINGS = `${API}/recordings`;
