// What whoever looks may do, so that nothing is offered that would be refused. The guard is the service, which looks at each request.

import { askJson, VIEWER } from "./api.js";
import { element } from "./dom.js";

// If that cannot be told everything is offered, and the service says what may not be.
const UNKNOWN = { may_upload: true, may_erase: true };

export function whoLooks() {
  return askJson(VIEWER).catch(() => UNKNOWN);
}

// The end of a sentence that says what is missing: where to add a recording, or who may.
export async function wayToAdd() {
  const { may_upload: mayUpload } = await whoLooks();
  return mayUpload ? [element("a", { href: "/" }, "Add a recording"), "."] : ["Therapists and administrators add recordings."];
}
