import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import postgres from "postgres";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { lockFolder } from "../../local/processes/lock.ts";
import { isRunning, startFromPs, startOf } from "../../local/processes/pids.ts";
import { postgresUser } from "../../local/stores/postgres-binaries.ts";
import { startPostgres } from "../../local/stores/postgres.ts";
import { startProcess, stopProcess } from "../../local/processes/child.ts";
import { nodeProgram, startUntilEvent } from "../../local/processes/programs.ts";
import { startRedis } from "../../local/stores/redis.ts";
import { until } from "../services/waiting.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "synapse-children-"));
  chmodSync(dir, 0o711);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const untilEnded = (pids: number[]) => until("the processes have ended", () => !pids.some(isRunning));

/** Starts a process that has ended and whose parent never waits for it, as the process 1 of many containers. @returns its pid */
async function startZombie(): Promise<number> {
  const parent = spawn("/bin/sh", ["-c", "sleep 0 & echo $!; exec sleep 600"], {
    stdio: "pipe",
    ...postgresUser(),
  });
  onTestFinished(() => void parent.kill("SIGKILL"));
  const pid = String((await once(parent.stdout, "data"))[0]).trim();
  const state = () => spawnSync("ps", ["-o", "stat=", "-p", pid], { encoding: "utf8" }).stdout.trim();
  await until("it has ended", () => state().startsWith("Z"));
  return Number(pid);
}

async function startStoresInChild() {
  const command = nodeProgram("test/local/fixtures/start-stores.ts");
  const program = await startUntilEvent("started", "start-stores", {
    ...command,
    args: [...command.args, dir],
  });
  return { child: program.child, pids: z.array(z.number()).parse(program.event.pids) };
}

describe("Postgres and Redis", () => {
  test("end when their parent is killed with -9", async () => {
    const { child, pids } = await startStoresInChild();
    expect(pids.every(isRunning)).toBe(true);
    child.kill("SIGKILL");
    await untilEnded(pids);
  });

  test("keep data and port from one start to the next, also while nothing has waited for the end of a killed Postgres", async () => {
    const first = await startPostgres({ dir: join(dir, "postgres") });
    const redis = await startRedis({ dir: join(dir, "redis") });
    let sql = postgres(first.url, { max: 1, onnotice: () => {} });
    await sql`create table notes as select 'still here' as text`;
    await sql.end();
    let client = new Redis(redis.url);
    await client.set("note", "still here");
    client.disconnect();
    await Promise.all([first.stop(), redis.stop()]);
    writeFileSync(join(dir, "postgres/data/postmaster.pid"), `${await startZombie()}\n`);

    const second = await startPostgres({ dir: join(dir, "postgres") });
    const secondRedis = await startRedis({ dir: join(dir, "redis") });
    onTestFinished(async () => {
      await Promise.all([second.stop(), secondRedis.stop()]);
    });
    expect([second.url, secondRedis.url]).toEqual([first.url, redis.url]);
    sql = postgres(second.url, { max: 1 });
    expect(await sql`select text from notes`).toEqual([{ text: "still here" }]);
    await sql.end();
    client = new Redis(secondRedis.url);
    expect(await client.get("note")).toBe("still here");
    client.disconnect();
  });

  test.runIf(process.platform === "linux")(
    "that outlived a start whose guards were killed too are stopped by the next start",
    async () => {
      const { child, pids } = await startStoresInChild();
      const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8")
        .trim()
        .split(" ");
      const guards = children.map(Number).filter((pid) => !pids.includes(pid));
      expect(guards).toHaveLength(2);
      for (const guard of guards) process.kill(guard, "SIGKILL");
      child.kill("SIGKILL");
      // The child and the guards, which could end the stores, have ended: the stores still run.
      await untilEnded([child.pid ?? 0, ...guards]);
      expect(pids.every(isRunning)).toBe(true);
      const own = await startPostgres({ dir: join(dir, "postgres") });
      const redis = await startRedis({ dir: join(dir, "redis") });
      await untilEnded(pids);
      await Promise.all([own.stop(), redis.stop()]);
    },
  );

  test.runIf(process.getuid?.() === 0)(
    "start for root in a folder that no other user can enter",
    async () => {
      const closed = join(dir, "closed");
      mkdirSync(closed, { mode: 0o700 });
      const own = await startPostgres({ dir: join(closed, "postgres") });
      const sql = postgres(own.url, { max: 1 });
      const [row] =
        await sql`select current_setting('data_directory') as folder, current_setting('fsync') as fsync`;
      await sql.end();
      await own.stop();
      const { folder } = z.object({ folder: z.string() }).parse(row);
      onTestFinished(() => rmSync(folder, { recursive: true }));
      expect(folder).not.toContain(dir);
      expect(row?.fsync).toBe("on");
    },
  );

  test("take another port when the wanted one is taken", async () => {
    const first = await startRedis({ dir: join(dir, "one") });
    const second = await startRedis({ dir: join(dir, "two"), port: first.port });
    expect(second.port).not.toBe(first.port);
    await Promise.all([first.stop(), second.stop()]);
  });

  test("throw an error with the end of their log when they do not start", async () => {
    await expect(startRedis({ dir, args: ["--appendfsync", "sometimes"] })).rejects.toThrow(
      /did not start[^]*sometimes/,
    );
  });
});

describe("a child", () => {
  test("that ignores the stop signal is ended by SIGKILL", async () => {
    const script = "trap '' TERM; touch ready; while :; do sleep 0.1; done";
    const child = startProcess(
      { command: "/bin/sh", args: ["-c", script], cwd: dir },
      join(dir, "log"),
      "SIGTERM",
    );
    await until("the child is ready", () => existsSync(join(dir, "ready")));
    // SIGKILL ends the child after 4 s; without it the child never ends.
    await stopProcess(child, "SIGTERM");
    expect(isRunning(child.pid ?? 0)).toBe(false);
  });

  test("is killed together with its own children", async () => {
    const script = "sleep 60 & echo $! > pid; touch ready; wait";
    const child = startProcess(
      { command: "/bin/sh", args: ["-c", script], cwd: dir },
      join(dir, "log"),
      "SIGTERM",
    );
    await until("the child is ready", () => existsSync(join(dir, "ready")));
    const grandchild = Number(readFileSync(join(dir, "pid"), "utf8"));
    child.kill("SIGKILL");
    await untilEnded([grandchild]);
  });
});

describe("a data folder", () => {
  test("is locked by one start at a time", () => {
    const unlock = lockFolder(dir);
    expect(() => lockFolder(dir)).toThrow(`process ${process.pid}`);
    unlock();
    lockFolder(dir)();
  });

  test("is free after its holder was killed, even when another process has the pid", () => {
    writeFileSync(join(dir, "lock"), "999999999\n123\n");
    lockFolder(dir)();
    writeFileSync(join(dir, "lock"), `${process.pid}\n${Number(startOf(process.pid)) - 1}\n`);
    lockFolder(dir)();
  });

  test.runIf(process.platform === "linux")(
    "is free after its holder was killed, also while nothing has waited for its end",
    async () => {
      const pid = await startZombie();
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ");
      writeFileSync(join(dir, "lock"), `${pid}\n${fields?.[19]}\n`);
      lockFolder(dir)();
    },
  );

  // Fails when a system without /proc gives a process another start time with each of its states: two starts would have one folder.
  test("is locked by a start time alone, also where only ps tells it", async () => {
    expect(startFromPs(process.pid)).toMatch(/^\w{3} \w{3} \d+ [\d:]+ \d{4}$/);
    if (process.platform === "linux") expect(startFromPs(await startZombie())).toBeNull();
  });
});
