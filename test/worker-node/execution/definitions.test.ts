import { expect, test, vi } from "vitest";
import { VERSION_KEPT_MS } from "../../../shared/timing.ts";
import { Definitions } from "../../../worker-node/execution/definitions.ts";
import { refusingStore } from "../fakes.ts";

// Fails when the versions in memory are bounded in number alone: definitions of 1 MiB are allowed.
test("definitions in memory have at most 16 MiB, and the newest one stays", async () => {
  const reads: string[] = [];
  const steps = Array.from({ length: 14 }, (_, i) => ({
    id: `s${i}`,
    type: "print",
    print_content: "x".repeat(65_000),
    next_step_id: i < 13 ? `s${i + 1}` : null,
  }));
  const definitions = new Definitions({
    ...refusingStore,
    readPinnedDefinition: async (_tenant, id) => {
      reads.push(id);
      return JSON.stringify({ id, name: id, entry_step_id: "s0", steps });
    },
  });
  const read = (id: string) => definitions.orchestration("acme", id, 1);
  for (let i = 0; i < 20; i++) await read(`orch_${i}`);
  await read("orch_19");
  expect(reads).toHaveLength(20);
  await read("orch_0");
  expect(reads).toHaveLength(21);
});

test("a version that many runs need at once is read once, and again when the read has failed", async () => {
  let reads = 0;
  const definitions = new Definitions({
    ...refusingStore,
    readPinnedDefinition: async () => {
      reads += 1;
      if (reads === 1) throw new Error("no store");
      const steps = [{ id: "a", type: "print", print_content: "x" }];
      return JSON.stringify({ id: "o", name: "O", entry_step_id: "a", steps });
    },
  });
  const readTwice = () =>
    Promise.allSettled(["acme", "acme"].map((tenant) => definitions.orchestration(tenant, "o", 1)));
  expect((await readTwice()).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect((await readTwice()).map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
  expect(reads).toBe(2);
});

// Fails when a version is kept for any time: a tenant that was deleted and created anew begins with version 1 again.
test("a version is read again after a time in which no tenant can be deleted and created anew", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    let content = "of the deleted tenant";
    const definitions = new Definitions({
      ...refusingStore,
      readPinnedDefinition: async () => {
        const steps = [{ id: "a", type: "print", print_content: content }];
        return JSON.stringify({ id: "o", name: "O", entry_step_id: "a", steps });
      },
    });
    const shown = async () => (await definitions.orchestration("acme", "o", 1)).steps;
    await shown();
    content = "of the new tenant";
    vi.advanceTimersByTime(VERSION_KEPT_MS - 1);
    expect(await shown()).toMatchObject([{ print_content: "of the deleted tenant" }]);
    vi.advanceTimersByTime(1);
    expect(await shown()).toMatchObject([{ print_content: "of the new tenant" }]);
  } finally {
    vi.useRealTimers();
  }
});
