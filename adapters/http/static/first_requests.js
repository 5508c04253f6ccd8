// What a session page asks first. This module stands in the page's head by itself and asks as soon as it has arrived, while the rest of
// the page is still being loaded; the page then takes over what was asked.

import { askJson, sessionUrl } from "./api.js";
import { fetchWindow } from "./signal_window.js";
import { whoLooks } from "./viewer.js";

const PAGE = /^\/sessions\/([^/]+)$/;

// All at once: a completed session, which is nearly every one, is on the screen after one round trip.
function askFor(id) {
  return {
    session: settled(askJson(sessionUrl(id))),
    analytics: settled(askJson(`${sessionUrl(id)}/analytics`)),
    signals: settled(fetchWindow(id, ["raw", "envelope"])),
    viewer: whoLooks(),
  };
}

async function settled(promise) {
  try {
    return { value: await promise };
  } catch (problem) {
    return { problem };
  }
}

const found = PAGE.exec(window.location.pathname);
const asked = found === null ? null : askFor(decodeURIComponent(found[1]));

export function firstRequests(id) {
  return asked ?? askFor(id);
}
