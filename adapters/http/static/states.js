// The states of a session, as people read them: a mark, a word, and what it means.

import { element } from "./dom.js";

const STATES = {
  received: { mark: "…", word: "Waiting", kind: "waiting", means: "It waits for a worker." },
  processing: { mark: "◔", word: "Analysing", kind: "working", means: "A worker is analysing it." },
  completed: { mark: "✓", word: "Analysed", kind: "good", means: "Its analytics can be read." },
  failed: { mark: "✕", word: "Failed", kind: "bad", means: "It could not be analysed." },
  duplicate: { mark: "=", word: "Duplicate", kind: "waiting", means: "Its recording is that of another session." },
};

export function stateWord(state) {
  return STATES[state].word;
}

export function stateMeaning(state) {
  return STATES[state].means;
}

export function stateBadge({ state, progress }) {
  const { mark, word, kind, means } = STATES[state];
  const share = state === "processing" ? ` ${Math.round(100 * progress)} %` : "";
  return element("span", { class: `badge badge-${kind}`, title: means }, [
    element("span", { "aria-hidden": "true" }, mark), ` ${word}${share}`,
  ]);
}

export function estimatedBadge(short = false) {
  return element("span", {
    class: "badge badge-warn",
    title: "The maximum voluntary contraction was estimated from this same recording, which makes the amplitude criterion easy to meet. The duration criterion is another.",
  }, short ? "MVC estimated" : "estimated from this recording");
}
