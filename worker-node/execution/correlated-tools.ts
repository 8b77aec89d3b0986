import type { Tools } from "../engine/ports.ts";

/** Tools whose calls carry the correlation id of their run. */
export function correlatedTools(tools: Tools, correlationId: string): Tools {
  return {
    toolsOf: (request) => tools.toolsOf(request),
    call: (request) => tools.call({ ...request, correlationId }),
    callMcp: (request) => tools.callMcp({ ...request, correlationId }),
  };
}
