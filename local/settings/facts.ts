/** What a developer needs to know of a running system: `.synapse/dev.json` and the block that ends the start. */
import type { S3Facts } from "../edge/process.ts";
import type { Worker } from "../workers.ts";

/**
 * The content of dev.json. All addresses are of 127.0.0.1; pids are null for what is not ours. Addresses stay while it
 * runs, pids are those of the last starts.
 */
export type Facts = {
  api_base: string;
  /** All edges, the first is `api_base`. */
  edges: string[];
  edge_pid: number | null;
  api_key: string;
  redis_url: string;
  redis_pid: number | null;
  redis_rest_url: string;
  redis_rest_pid: number | null;
  redis_rest_token: string;
  postgres_url: string;
  postgres_pid: number | null;
  s3: S3Facts;
  /** What the workers say of the models they call: scripted ones are called so. */
  models: string;
  /** What the workers ask for at /metrics. */
  metrics_token: string;
  workers: Worker[];
};

/** Three lines that work as pasted. */
export function startBlock(facts: Facts): string {
  const key = `-H "Authorization: Bearer ${facts.api_key}"`;
  const runs = `${facts.api_base}/api/v2/orchestrations`;
  const json = `-H "Content-Type: application/json"`;
  const others = facts.edges.length > 1 ? `\n  More edges    ${facts.edges.slice(1).join("  ")}` : "";
  return `
synapse-edge is running. Ctrl-C stops it, all data stays.

  API base      ${facts.api_base}${others}
  API key       ${facts.api_key}
  Models        ${facts.models}
  Workers       ${facts.workers.map(({ name, health_url }) => `${name} ${health_url}`).join("  ")}

  Start a run, watch it, ask how it went:

RUN=$(curl -s -X POST ${runs}/orch_smoke/run ${key} ${json} -d '{"message":"hello"}' | tee /dev/stderr | grep -o 'run_[0-9a-f]*_[0-9]*' | head -1)
curl -N ${runs}/runs/$RUN/stream ${key}
curl -s ${runs}/runs/$RUN/status ${key}
`;
}
