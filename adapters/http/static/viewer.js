// What whoever looks may do, so that nothing is offered that would be refused. The guard is the service, which looks at each request.

import { askJson, VIEWER } from "./api.js";

// If that cannot be told everything is offered, and the service says what may not be.
const UNKNOWN = { may_upload: true, may_erase: true };

export function whoLooks() {
  return askJson(VIEWER).catch(() => UNKNOWN);
}
