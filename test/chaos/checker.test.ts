import { describe, expect, test } from "vitest";
import { check } from "./checker.ts";
import type { Evidence, JournalRow } from "./evidence.ts";

const RUN = "run_000000000001_1700000000000";
const KEY = `${RUN}:write:1:model.1`;

const result = (step: string, visit = 1, effects: string[] = []) => ({
  step,
  visit,
  type: "llm",
  name: step,
  set: {},
  next: null,
  output_key: null,
  started_at: "2026-01-01T00:00:00.000Z",
  duration_ms: 1,
  tries: 1,
  tokens: 0,
  cost_micro_usd: 0,
  effects,
});

const event = (type: string, fields: object = {}): string =>
  JSON.stringify({ type, ...fields, ts: "2026-01-01T00:00:00.000Z" });

const entry = (seq: number, events: string[], fields: Partial<JournalRow>): JournalRow => ({
  run_id: RUN,
  seq,
  events_n: events.length,
  attempt: 1,
  kind: "note",
  step_path: null,
  visit: null,
  output: null,
  events: events.join("\n"),
  at_ms: 0,
  ...fields,
});

const ended = (status: string, checkpoint: object | null = null) =>
  JSON.stringify({ status, checkpoint, response: "", error: null });

const answered = {
  ...result("after"),
  type: "human",
  set: { human_response: { decision: "approve", signed: "answer-1" } },
};

/** One run that failed, was retried, and completed under its second attempt, with no promise broken. */
function soundEvidence(): Evidence {
  const journal = [
    entry(2, [event("worker_picked_up", { worker_id: "a", attempt: 1 }), event("step_complete")], {
      kind: "step",
      output: JSON.stringify(result("write", 1, [KEY])),
    }),
    entry(3, [event("done")], { kind: "end", output: ended("failed") }),
    entry(4, [event("step_start")], { kind: "rewind", output: JSON.stringify({ keep_seq: 2 }) }),
    entry(6, [event("worker_picked_up", { worker_id: "b", attempt: 2 }), event("done")], {
      kind: "end",
      attempt: 2,
      output: ended("completed", answered),
    }),
  ];
  const frames = journal
    .flatMap(({ events }) => events.split("\n"))
    .map((line, i) => ({
      id: `1700000000000-${i + 1}`,
      data: `{"run_id":"${RUN}","seq":${i + 1},${line.slice(1)}`,
    }));
  return {
    requests: [
      {
        id: "r1",
        tenant: "acme",
        orchestration: "o",
        priority: 0,
        key: "k1",
        webhook: true,
        accepted: [RUN, RUN],
        unknown: false,
        cancelled: false,
        retried: 1,
      },
    ],
    runs: [
      {
        run_id: RUN,
        tenant_id: "acme",
        orchestration_id: "o",
        status: "completed",
        attempt: 2,
        event_seq: 6,
        crash_count: 0,
        step_count: 2,
        tokens: 12,
        cost_micro_usd: 7,
        correlation_id: "r1",
        parent_run_id: null,
        parent_wait_id: null,
        error: null,
        cancel_requested: false,
        webhook: true,
        queued_ms: 0,
        ended_ms: 0,
        chat_session: null,
      },
    ],
    acceptedAnswers: [{ run: RUN, question: "after:1", signed: "answer-1" }],
    deliveries: [
      { delivery_id: "whd_1", run_id: RUN, seq: 3, type: "run.failed", outcome: "delivered" },
      { delivery_id: "whd_2", run_id: RUN, seq: 6, type: "run.completed", outcome: "delivered" },
    ],
    webhookRequests: [
      { id: "whd_1", body: `{"type":"run.failed","run_id":"${RUN}"}`, signed: true },
      { id: "whd_2", body: `{"type":"run.completed","run_id":"${RUN}"}`, signed: true },
      { id: "whd_2", body: `{"type":"run.completed","run_id":"${RUN}"}`, signed: true },
    ],
    receiver: new Map([
      ["whd_1", { answered: 1, refused: 0, cut: 0 }],
      ["whd_2", { answered: 1, refused: 0, cut: 1 }],
    ]),
    unexpected: [],
    journal,
    usage: [{ run_id: RUN, seq: 2, call: "model.1", kind: "charged", tokens: 12, cost_micro_usd: 7 }],
    deadLetters: [{ run_id: RUN, seq: 3, code: "x", resolved: true }],
    messages: [],
    keys: [{ tenant_id: "acme", key: "k1", run_id: RUN }],
    redis: { sizes: { limits: 1, tags: 3, index: 5, jobs: 0 }, tenants: 1, foreign: [] },
    viewings: [
      { run: RUN, viewer: "final", frames, complete: true },
      { run: RUN, viewer: "early", frames: frames.slice(0, 3), complete: true },
      { run: RUN, viewer: "late", frames: frames.slice(0, 1), complete: false },
    ],
    framesTooEarly: [],
    limitBreaches: [],
    takeovers: [{ run: RUN, diedMs: 0, ms: 60_000, calm: false }],
    stalls: [{ run: RUN, ms: 9_000 }],
    calls: new Map([[KEY, { answered: 1, refused: 0, cut: 3 }]]),
  };
}

test("evidence without a defect breaks no promise", () => {
  expect(check(soundEvidence())).toEqual([]);
  const evidence = soundEvidence();
  addChild(evidence);
  addTurn(evidence, 5);
  addTurn(evidence, 6);
  expect(check(evidence)).toEqual([]);
});

const CHILD = "run_000000000002_1700000000000";

/** Turn `n` of a chat session, which has completed. */
function addTurn(e: Evidence, n: number): void {
  const run = `run_00000000000${n}_170000000000${n}`;
  const events = [event("worker_picked_up", { worker_id: "a", attempt: 1, n }), event("done", { n })];
  e.journal.push(entry(2, events, { kind: "end", run_id: run, output: ended("completed") }));
  const turn = { run_id: run, chat_session: "s1", ended_ms: n, correlation_id: `r${n}` };
  const counts = { event_seq: 2, attempt: 1, step_count: 0, tokens: 0, cost_micro_usd: 0, webhook: false };
  e.runs.push({ ...only(e.runs), ...turn, ...counts });
  const request = { id: `r${n}`, orchestration: "chat", key: null, accepted: [run], retried: 0 };
  e.requests.push({ ...only(e.requests), ...request });
  const row = { session_id: "s1", base: run.slice(-13), cut: false };
  e.messages.push({ ...row, n: 0, content: `r${n}` }, { ...row, n: 2, content: "noted" });
}

/** A child of the run, which has completed and used 5 tokens. */
function addChild(e: Evidence): void {
  const events = [event("worker_picked_up", { worker_id: "a", attempt: 1 }), event("done")];
  const end = { kind: "end", run_id: CHILD, output: ended("completed") } as const;
  e.journal.push(entry(2, events, end));
  e.runs.push({
    ...only(e.runs),
    run_id: CHILD,
    parent_run_id: RUN,
    parent_wait_id: "nested:1",
    attempt: 1,
    event_seq: 2,
    step_count: 0,
    tokens: 5,
    cost_micro_usd: 3,
    webhook: false,
  });
  e.usage.push({ run_id: CHILD, seq: 2, call: "model.1", kind: "charged", tokens: 5, cost_micro_usd: 3 });
  e.usage.push({
    run_id: RUN,
    seq: 2,
    call: `child.${CHILD}`,
    kind: "charged",
    tokens: 5,
    cost_micro_usd: 3,
  });
  only(e.runs).tokens += 5;
  only(e.runs).cost_micro_usd += 3;
}

/** The one element of a list that a test damages. */
function only<Item>(items: readonly Item[], at = 0): Item {
  const item = items.at(at);
  if (item === undefined) throw new Error("the evidence has no such element");
  return item;
}

type Damage = [promise: string, what: string, damage: (e: Evidence) => void];

const damages: Damage[] = [
  [
    "an entry is committed once",
    "a flush was written again",
    (e) => e.journal.push({ ...only(e.journal), seq: 8 }),
  ],
  [
    "every response is expected",
    "a 500",
    (e) => e.unexpected.push({ request: "POST /x", status: 500, body: "" }),
  ],
  [
    "202 means it will finish",
    "an accepted run is missing",
    (e) => only(e.requests).accepted.push("run_gone"),
  ],
  ["202 means it will finish", "a run is still running", (e) => (only(e.runs).status = "running")],
  ["202 means it will finish", "a run is still queued", (e) => (only(e.runs).status = "queued")],
  [
    "one run per request",
    "a client received the ids of two runs",
    (e) => only(e.requests).accepted.push("run_other"),
  ],
  [
    "one run per request",
    "a request made two runs",
    (e) => e.runs.push({ ...only(e.runs), run_id: RUN.replace("1_", "2_") }),
  ],
  ["one run per request", "a refused request made a run", (e) => (only(e.requests).accepted = [])],
  ["one run per request", "a run was started by no request", (e) => (only(e.runs).correlation_id = "r2")],
  ["one run per request", "an idempotency key names another run", (e) => (only(e.keys).run_id = "run_other")],
  ["one dead letter per failed run", "an end in failure has no dead letter", (e) => (e.deadLetters = [])],
  [
    "one dead letter per failed run",
    "a failed run has two dead letters",
    (e) => e.deadLetters.push({ ...only(e.deadLetters), seq: 6 }),
  ],
  [
    "one dead letter per failed run",
    "a dead letter is unresolved after the retry",
    (e) => (only(e.deadLetters).resolved = false),
  ],
  [
    "cancelled is a terminal status",
    "a cancelled run completed",
    (e) => Object.assign(only(e.requests), { cancelled: true, retried: 0 }),
  ],
  ["events are gap-free", "an entry is missing", (e) => e.journal.splice(1, 1)],
  ["events are gap-free", "two entries overlap", (e) => (only(e.journal, 1).events_n = 2)],
  ["events are gap-free", "the last entry is missing", (e) => (only(e.runs).event_seq = 7)],
  [
    "events are gap-free",
    "an entry has a line too many",
    (e) => (only(e.journal, 1).events += `\n${event("checkpoint")}`),
  ],
  ["only the owner writes", "an attempt falls", (e) => (only(e.journal, 3).attempt = 0)],
  [
    "only the owner writes",
    "an entry has a higher attempt than its run",
    (e) => (only(e.journal, 3).attempt = 3),
  ],
  [
    "only the owner writes",
    "two claims have one attempt",
    (e) => (only(e.journal, 3).events = only(e.journal, 3).events.replace('"attempt":2', '"attempt":1')),
  ],
  [
    "one end a life",
    "a life has no end",
    (e) => Object.assign(only(e.journal, 1), { events: event("checkpoint"), kind: "note" }),
  ],
  [
    "one end a life",
    "`done` comes twice",
    (e) => (only(e.journal, 3).events = [event("done"), event("done")].join("\n")),
  ],
  [
    "one end a life",
    "the status of the run is not that of its last end",
    (e) => (only(e.runs).status = "failed"),
  ],
  [
    "a step's result is committed once",
    "a visit has two results",
    (e) => (only(e.journal, 3).output = ended("completed", result("write"))),
  ],
  ["charges are usage", "tokens are charged that no call used", (e) => (only(e.runs).tokens = 13)],
  [
    "charges are usage",
    "a call is charged twice",
    (e) => e.usage.push({ ...only(e.usage), call: "model.2" }),
  ],
  [
    "charges are usage",
    "the cost of the run is less than that of its calls",
    (e) => (only(e.runs).cost_micro_usd = 6),
  ],
  ["charges are usage", "a result was not counted", (e) => (only(e.runs).step_count = 1)],
  ["charges are usage", "a charge belongs to no entry", (e) => (only(e.usage).seq = 5)],
  [
    "a chat history is whole",
    "an accepted message is missing",
    (e) => {
      addTurn(e, 5);
      e.messages.shift();
    },
  ],
  [
    "a chat history is whole",
    "a completed turn has no answer",
    (e) => {
      addTurn(e, 5);
      e.messages.pop();
    },
  ],
  [
    "a chat history is whole",
    "an accepted turn belongs to no session",
    (e) => {
      addTurn(e, 5);
      only(e.runs, -1).chat_session = null;
    },
  ],
  [
    "turns run one after the other",
    "a turn ended before the one before it",
    (e) => {
      addTurn(e, 5);
      addTurn(e, 6);
      only(e.runs, -1).ended_ms = 4;
    },
  ],
  [
    "a child is started once",
    "a wait started two children",
    (e) => {
      addChild(e);
      e.runs.push({ ...only(e.runs, -1), run_id: CHILD.replace("2_", "3_") });
    },
  ],
  [
    "a child is started once",
    "the parent of a child does not exist",
    (e) => {
      addChild(e);
      only(e.runs, -1).parent_run_id = "run_gone";
    },
  ],
  [
    "the usage of a child is in that of its parent",
    "a child is charged twice",
    (e) => {
      addChild(e);
      e.usage.push(only(e.usage, -1));
    },
  ],
  [
    "the usage of a child is in that of its parent",
    "a child is not charged",
    (e) => {
      addChild(e);
      e.usage.pop();
    },
  ],
  [
    "the usage of a child is in that of its parent",
    "the parent paid for less than the child used",
    (e) => {
      addChild(e);
      only(e.usage, -1).tokens = 4;
    },
  ],
  [
    "a parent waits for its children",
    "a parent has completed before its child",
    (e) => {
      addChild(e);
      only(e.runs, -1).status = "running";
    },
  ],
  [
    "viewers receive the journal",
    "a viewer received an event twice",
    (e) => only(e.viewings, 1).frames.splice(1, 0, only(only(e.viewings).frames)),
  ],
  ["viewers receive the journal", "a viewer missed an event", (e) => only(e.viewings, 1).frames.splice(0, 1)],
  [
    "viewers receive the journal",
    "a frame has a byte more than the journal",
    (e) => (only(only(e.viewings, 1).frames).data += " "),
  ],
  [
    "viewers receive the journal",
    "an event has another id",
    (e) => (only(only(e.viewings, 1).frames).id = "1700000000000-9"),
  ],
  [
    "viewers receive the journal",
    "a stream ended in the middle",
    (e) => (only(e.viewings, 2).complete = true),
  ],
  ["viewers receive the journal", "the final viewer lacks events", (e) => only(e.viewings).frames.splice(3)],
  [
    "viewers receive the journal",
    "a viewer received an event that was never committed",
    (e) => only(e.viewings).frames.push({ id: "1700000000000-7", data: "{}" }),
  ],
  [
    "no event is published before its commit",
    "an event was received before its commit",
    (e) => e.framesTooEarly.push({ run: RUN, seq: 3, committed: 2 }),
  ],
  [
    "calls outside carry stable keys",
    "a key has more responses than the run has claims",
    (e) => e.calls.set(KEY, { answered: 2, refused: 1, cut: 0 }),
  ],
  [
    "calls outside carry stable keys",
    "a key belongs to no run",
    (e) => e.calls.set("run_x:a:1:m", { answered: 1, refused: 0, cut: 0 }),
  ],
  [
    "calls outside carry stable keys",
    "a refused call is repeated after a park",
    (e) => {
      e.calls.set(KEY, { answered: 1, refused: 1, cut: 0 });
      only(e.journal).kind = "park";
    },
  ],
  [
    "no silent success",
    "a result had no response",
    (e) => e.calls.set(KEY, { answered: 0, refused: 1, cut: 0 }),
  ],
  ["nothing is left in Redis", "a job", (e) => (e.redis.sizes.jobs = 1)],
  ["nothing is left in Redis", "a lease", (e) => (e.redis.sizes.leases = 1)],
  ["nothing is left in Redis", "a used slot", (e) => (e.redis.sizes.active = 1)],
  ["nothing is left in Redis", "a place in a ring", (e) => (e.redis.sizes["ring:default"] = 1)],
  [
    "nothing is left in Redis",
    "a key that belongs to no structure",
    (e) => e.redis.foreign.push("synapse:lost"),
  ],
  ["sizes prove completeness", "limits were lost", (e) => (e.redis.sizes.limits = 0)],
  [
    "limits are never passed",
    "a tenant had too many running runs",
    (e) => e.limitBreaches.push({ tenant: "small", what: "running", count: 3, limit: 2, atMs: 0 }),
  ],
  [
    "taken over within 6 s",
    "a takeover took longer without another fault",
    (e) => (only(e.takeovers).calm = true),
  ],
  [
    "an accepted answer counts",
    "a second answer was accepted",
    (e) => e.acceptedAnswers.push({ run: RUN, question: "after:1", signed: "answer-2" }),
  ],
  [
    "an accepted answer counts",
    "the run went on with another answer",
    (e) => (only(e.journal, 3).output = ended("completed", result("after"))),
  ],
  [
    "an accepted answer counts",
    "a run with a question went on without an answer",
    (e) => {
      e.acceptedAnswers = [];
      only(e.journal, 3).output = ended("completed", { ...answered, set: {} });
    },
  ],
  [
    "an accepted answer counts",
    "two visits went on with one answer",
    (e) => (only(e.journal).output = JSON.stringify({ ...answered, step: "write", effects: [KEY] })),
  ],
  ["every end is delivered", "an end has no delivery", (e) => e.deliveries.pop()],
  ["every end is delivered", "a run without a webhook has a delivery", (e) => (only(e.runs).webhook = false)],
  ["every end is delivered", "a delivery is still pending", (e) => (only(e.deliveries).outcome = null)],
  ["every end is delivered", "a delivery was never received", (e) => e.receiver.delete("whd_1")],
  [
    "every end is delivered",
    "another body came under the same id",
    (e) => (only(e.webhookRequests, 2).body += " "),
  ],
  ["every end is delivered", "a request was not signed", (e) => (only(e.webhookRequests).signed = false)],
  [
    "every end is delivered",
    "a body is that of another delivery",
    (e) => (only(e.webhookRequests).body = '{"type":"run.failed"}'),
  ],
  [
    "every end is delivered",
    "a request has the id of no delivery",
    (e) => (only(e.webhookRequests).id = "whd_9"),
  ],
  ["never stuck", "a run stalled", (e) => (only(e.stalls).ms = 90_000)],
];

describe("the checker finds the promise that damaged evidence breaks:", () => {
  test.each(damages)("%s: %s", (promise, _what, damage) => {
    const evidence = soundEvidence();
    damage(evidence);
    expect(check(evidence).map((violation) => violation.promise)).toContain(promise);
  });
});
