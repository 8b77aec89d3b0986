/**
 * The clients of the hostile tenants, in a process of their own, so that their work does not delay the quiet tenant's clients.
 * They act from `hostile_clients.acting` until SIGTERM; then one line counts the statuses that they received.
 */
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { log, messageOf } from "../../../shared/log.ts";
import { newApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { connected, requestBytes } from "../../bench/load.ts";
import { HOSTILE_CLIENTS, Setup } from "./setup.ts";
import {
  deepDefinition,
  largeDefinition,
  hostileOrchestrations,
  hostileTools,
  MODELS,
  TOOLS,
} from "./definitions.ts";
import { kindNames } from "./kinds.ts";
import type { KindName } from "./kinds.ts";

const { base, server, keys } = Setup.parse(JSON.parse(z.string().parse(process.env[HOSTILE_CLIENTS])));
const ANSWER_MS = 15_000;
const LARGE_CHARS = 1_000_000;
const POLLERS = 100;
const SILENT_VIEWERS = 300;
const RUN_PATH = "/api/v2/orchestrations/runs";

const playing = kindNames.filter((kind) => keys[kind] !== undefined);

const stopping = new AbortController();
/** Kind → status → how many responses; 0: no response in time. */
const counts = new Map<KindName, Map<number, number>>();

function count(kind: KindName, status: number): void {
  const statuses = counts.get(kind) ?? new Map<number, number>();
  counts.set(kind, statuses.set(status, (statuses.get(status) ?? 0) + 1));
}

type Sent = { status: number; text: string };

/** Sends a request as one of the hostile tenants, from an address that is not the quiet tenant's. */
async function send(
  kind: KindName,
  method: string,
  path: string,
  body?: string,
  headers: Record<string, string> = {},
): Promise<Sent> {
  const sent = await request(method, path, body, {
    authorization: `Bearer ${keys[kind]}`,
    "cf-connecting-ip": "203.0.113.9",
    ...(body !== undefined && { "content-type": "application/json" }),
    ...headers,
  });
  count(kind, sent.status);
  return sent;
}

async function request(
  method: string,
  path: string,
  body: string | undefined,
  headers: Record<string, string>,
): Promise<Sent> {
  try {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(ANSWER_MS)]);
    const answer = await fetch(base + path, { method, headers, signal, ...(body !== undefined && { body }) });
    return { status: answer.status, text: await answer.text() };
  } catch {
    return { status: 0, text: "" };
  }
}

const run = (kind: KindName, id: string, fields: object = {}): Promise<Sent> =>
  send(kind, "POST", `/api/v2/orchestrations/${id}/run`, JSON.stringify({ message: "go", ...fields }));

const Accepted = z.object({ run_id: z.string() });

/** Starts runs until one is accepted. @returns its id */
async function acceptedRun(kind: KindName, id: string): Promise<string> {
  for (;;) {
    const body = JSON.stringify({ message: "go" });
    const headers = { authorization: `Bearer ${keys[kind]}`, "content-type": "application/json" };
    const { status, text } = await request("POST", `/api/v2/orchestrations/${id}/run`, body, headers);
    if (status === 202) return Accepted.parse(JSON.parse(text)).run_id;
    await sleep(500, undefined, { signal: stopping.signal });
  }
}

const malformed: readonly string[] = [
  String.raw`{"message":"x","correlation_id":"\ud800"}`,
  String.raw`{"message":"x","session_id":"\udfff"}`,
  String.raw`{"message":"x","metadata":{"\ud800":"\u0000"}}`,
  String.raw`{"message":"\u0000","state":{"a":"\u0000"}}`,
  `{"message":"x","tenant":"quiet"}`,
  `{"message":"x","state":{"n":123456789012345678901234567890}}`,
  `{"message":"x","priority":1e400}`,
  `{"message":"x","state":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
  `{"message":"x","state":${`{"a":`.repeat(5_000)}1${"}".repeat(5_000)}}`,
  `{"message":"x","state":${"[".repeat(20_000)}`,
  `{"message":`,
  "",
];

/** One client of a kind: what it does again and again, `everyMs`. */
type Client = { everyMs: number; act(number: number): Promise<unknown> };

/**
 * Two processors serve all this, and these clients too. Each kind goes to its limits in size and duration, and requests more
 * than its share; together they leave the processors a part of the time, because a phase that needs more than there is
 * measures the scheduler of the machine alone.
 *
 * Each kind: how many clients it has, and what each of them does. `begin` runs once, before they act.
 */
const clients: Record<KindName, { clients: number; begin(): Promise<Client> | Client }> = {
  malformed: {
    clients: 2,
    begin: () => ({
      everyMs: 100,
      act: (number) => {
        const body = malformed[number % malformed.length] ?? "";
        const headers = number % 20 === 19 ? { "content-type": "text/plain" } : {};
        return send("malformed", "POST", "/api/v2/orchestrations/hostile_print/run", body, headers);
      },
    }),
  },
  maximal: {
    clients: 2,
    begin: () => ({
      everyMs: 500,
      act: (number) =>
        run("maximal", "hostile_print", {
          message: "x".repeat(number % 8 === 7 ? 2 * LARGE_CHARS : LARGE_CHARS),
        }),
    }),
  },
  rendering: {
    clients: 2,
    begin: () => ({
      everyMs: 1_000,
      act: () => run("rendering", "hostile_render", { message: "x".repeat(LARGE_CHARS) }),
    }),
  },
  spinning: {
    clients: 2,
    begin: () => ({
      everyMs: 300,
      act: (number) => run("spinning", number % 2 === 0 ? "hostile_program" : "hostile_expression"),
    }),
  },
  tools: {
    clients: 2,
    begin: () => ({ everyMs: 500, act: (number) => run("tools", `hostile_${TOOLS[number % TOOLS.length]}`) }),
  },
  models: {
    clients: 2,
    begin: () => ({
      everyMs: 500,
      act: (number) => run("models", `hostile_${MODELS[number % MODELS.length]}`),
    }),
  },
  webhooks: {
    clients: 2,
    begin: () => ({
      everyMs: 300,
      act: () =>
        run("webhooks", "hostile_print", { webhook_url: `${server}/hook`, webhook_secret: "s".repeat(32) }),
    }),
  },
  pollers: {
    clients: 1,
    begin: async () => {
      const id = await acceptedRun("pollers", "hostile_print");
      const poll = () => send("pollers", "GET", `${RUN_PATH}/${id}/status`);
      return { everyMs: 1_000, act: () => Promise.all(Array.from({ length: POLLERS }, poll)) };
    },
  },
  viewers: {
    clients: 1,
    begin: async () => {
      const id = await acceptedRun("viewers", "hostile_events");
      const open: Socket[] = [];
      const act = async (): Promise<void> => {
        const live = open.filter(({ destroyed }) => !destroyed);
        const missing = Math.min(SILENT_VIEWERS - live.length, 30);
        open.splice(0, open.length, ...live);
        open.push(...(await Promise.all(Array.from({ length: missing }, () => openSilently("viewers", id)))));
      };
      return { everyMs: 300, act };
    },
  },
  dropped: {
    clients: 2,
    begin: async () => {
      const id = await acceptedRun("dropped", "hostile_events");
      const act = async (): Promise<void> => {
        const socket = await openSilently("dropped", id);
        socket.destroy();
      };
      return { everyMs: 200, act };
    },
  },
  guessing: {
    clients: 2,
    begin: () => ({
      everyMs: 100,
      act: (number) => {
        const key = number % 4 === 3 ? `sk-syn-${"0".repeat(number % 70)}` : newApiKey();
        const headers = { authorization: `Bearer ${key}` };
        return send("guessing", "POST", "/api/v2/orchestrations/quiet_work/run", `{"message":"x"}`, headers);
      },
    }),
  },
  definitions: {
    clients: 1,
    begin: () => ({
      everyMs: 500,
      act: (number) => {
        const definition = number % 3 === 2 ? deepDefinition(number) : largeDefinition(number);
        const path = `/api/v2/orchestrations/${definition.id}`;
        return send("definitions", "PUT", path, JSON.stringify(definition));
      },
    }),
  },
  state: {
    clients: 1,
    begin: () => ({
      everyMs: 1_000,
      act: (number) =>
        number % 2 === 0
          ? run("state", "hostile_state", { message: "x".repeat(LARGE_CHARS) })
          : run("state", "hostile_values"),
    }),
  },
  journal: { clients: 1, begin: () => ({ everyMs: 2_000, act: () => run("journal", "hostile_journal") }) },
};

/** Opens the stream of a run and reads only the head of the response. */
async function openSilently(kind: KindName, id: string): Promise<Socket> {
  const socket = await connected(Number(new URL(base).port));
  socket.setTimeout(0);
  socket.on("error", () => {});
  socket.write(requestBytes("GET", `${RUN_PATH}/${id}/stream`, { authorization: `Bearer ${keys[kind]}` }));
  try {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(ANSWER_MS)]);
    const [bytes]: Buffer[] = await once(socket, "data", { signal });
    count(kind, Number(/^HTTP\/1\.1 (\d+) /.exec(bytes?.toString("latin1") ?? "")?.[1] ?? 0));
    socket.pause();
  } catch {
    count(kind, 0);
    socket.destroy();
  }
  return socket;
}

/** @throws Error for a definition that is refused: the harm could not be tried. */
async function save(kind: KindName): Promise<void> {
  const headers = { authorization: `Bearer ${keys[kind]}`, "content-type": "application/json" };
  const documents = [
    ...hostileTools(kind, server).map(({ name, body }) => ({ path: `/api/v2/tools/${name}`, body })),
    ...hostileOrchestrations[kind].map((body) => ({ path: `/api/v2/orchestrations/${body.id}`, body })),
  ];
  for (const { path, body } of documents) {
    const { status, text } = await request("PUT", path, JSON.stringify(body), headers);
    if (status !== 200 && status !== 201) throw new Error(`PUT ${path}: ${status} ${text}`);
  }
}

async function actRepeatedly({ everyMs, act }: Client, from: number): Promise<void> {
  for (let number = from; !stopping.signal.aborted; number++) {
    await act(number);
    await sleep(everyMs, undefined, { signal: stopping.signal }).catch(() => {});
  }
}

async function play(kind: KindName): Promise<void> {
  try {
    const { clients: clientCount, begin } = clients[kind];
    const client = await begin();
    await Promise.all(Array.from({ length: clientCount }, (_, number) => actRepeatedly(client, number)));
  } catch (error) {
    if (!stopping.signal.aborted) log.error("hostile_clients.failed", { kind, message: messageOf(error) });
  }
}

for (const kind of playing) await save(kind);
process.once("SIGTERM", () => stopping.abort());
log.info("hostile_clients.acting");
await Promise.all(playing.map(play));
const table = Object.fromEntries(
  Array.from(counts, ([kind, statuses]) => [kind, Object.fromEntries(statuses)]),
);
log.info("hostile_clients.counted", { counts: JSON.stringify(table) });
process.exit(0);
