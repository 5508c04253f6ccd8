// Follows a session while it is processed. The events are read with fetch, because EventSource cannot send a token.

import { ask, askJson, ProblemError, sessionUrl } from "./api.js";

const DONE = new Set(["completed", "failed", "duplicate"]);
const PAUSE_MS = 1500;
const PAUSE_MS_MAX = 15000;

export function isDone(state) {
  return DONE.has(state);
}

// Calls `told` with {state, progress, failure, same_as} at every change, until the session is done; returns the last of them.
export async function follow(id, told) {
  let last = null;
  for (let failures = 0; ; failures += 1) {
    try {
      for await (const event of events(id)) {
        last = event;
        told(event);
        failures = 0;
      }
    } catch (error) {
      // Too many followers, or a service that is just being started again: what the session is now can still be asked for.
      const passing = error instanceof ProblemError && (error.status === 503 || error.status === 0);
      if (!passing && !(error instanceof TypeError)) {
        throw error;
      }
      last = await askedOnce(id, told) ?? last;
    }
    if (last !== null && isDone(last.state)) {
      return last;
    }
    await new Promise((resolve) => { window.setTimeout(resolve, Math.min(PAUSE_MS * 2 ** Math.min(failures, 4), PAUSE_MS_MAX)); });
  }
}

async function askedOnce(id, told) {
  try {
    const session = await askJson(sessionUrl(id));
    told(session);
    return session;
  } catch (error) {
    if (error instanceof ProblemError && error.status !== 503 && error.status !== 0) {
      throw error;
    }
    return null;
  }
}

async function* events(id) {
  const response = await ask(`${sessionUrl(id)}/events`, { headers: { Accept: "text/event-stream" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) {
        yield JSON.parse(data);
      }
    }
  }
}
