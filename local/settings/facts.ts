/**
 * The facts of a running system that a developer needs: `.synapse/dev.json`, and the text that is printed after the
 * start.
 */
import type { S3Facts } from "../edge/process.ts";
import type { Worker } from "../workers.ts";

/**
 * The content of dev.json. All addresses are on 127.0.0.1. Addresses do not change while the system runs; pids are
 * those of the latest starts, and null for a store that this system did not start.
 */
export type Facts = {
  api_base: string;
  /** The URLs of all edges. The first is `api_base`. */
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
  /** The models that the workers call, in words: scripted models are named as such. */
  models: string;
  /** The bearer that the workers require at /metrics. */
  metrics_token: string;
  workers: Worker[];
};

/** The text after a start. Its last three lines work as pasted. */
export function startBlock(facts: Facts): string {
  const key = `-H "Authorization: Bearer ${facts.api_key}"`;
  const runs = `${facts.api_base}/api/v2/orchestrations`;
  const json = `-H "Content-Type: application/json"`;
  const moreEdges = facts.edges.length > 1 ? `\n  More edges    ${facts.edges.slice(1).join("  ")}` : "";
  return `
synapse-edge is running. Ctrl-C stops it; all data is kept.

  API base      ${facts.api_base}${moreEdges}
  API key       ${facts.api_key}
  Reference     ${facts.api_base}/docs
  Models        ${facts.models}
  Workers       ${facts.workers.map(({ name, health_url }) => `${name} ${health_url}`).join("  ")}

  Start a run, watch it, read its status:

RUN=$(curl -s -X POST ${runs}/orch_smoke/run ${key} ${json} -d '{"message":"hello"}' | tee /dev/stderr | grep -o 'run_[0-9a-f]*_[0-9]*' | head -1)
curl -N ${runs}/runs/$RUN/stream ${key}
curl -s ${runs}/runs/$RUN/status ${key}
`;
}
