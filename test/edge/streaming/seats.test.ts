import { describe, expect, test } from "vitest";
import { Seats } from "../../../edge/streaming/seats.ts";
import { ViewerAdmission } from "../../../edge/streaming/viewer-admission.ts";

const LIMITS = { all: 20, tenant: 10, key: 8, stream: 5 };
const seat = (tenant: string, keyId = "k", stream = "r") => ({ tenant, keyId, stream });

function take(seats: Seats, count: number, seatOf: (i: number) => ReturnType<typeof seat>): number {
  return Array.from({ length: count }, (_, i) => seats.take(seatOf(i))).filter(
    (verdict) => verdict === "taken",
  ).length;
}

describe("the seats of an object", () => {
  test("leave room beside every tenant, every key of a tenant, and every stream of a key", () => {
    const seats = new Seats(LIMITS);
    expect(take(seats, 100, () => seat("acme", "k", "r"))).toBe(LIMITS.stream);
    expect(take(seats, 100, (i) => seat("acme", "k", `r${i}`))).toBe(LIMITS.key - LIMITS.stream);
    expect(take(seats, 100, (i) => seat("acme", `k${i}`, "r"))).toBe(LIMITS.tenant - LIMITS.key);
    expect(seats.take(seat("quiet"))).toBe("taken");
  });

  test("are free again when viewers leave", () => {
    const seats = new Seats(LIMITS);
    for (let round = 0; round < 3; round++) {
      expect(take(seats, 100, () => seat("acme"))).toBe(LIMITS.stream);
      for (let i = 0; i < LIMITS.stream; i++) seats.release(seat("acme"));
    }
    expect(seats.taken).toBe(0);
  });

  test("when all are taken, the tenant with the most yields one to a tenant with fewer, and only then", () => {
    const seats = new Seats({ ...LIMITS, key: 10, stream: 10 });
    take(seats, 10, () => seat("a"));
    take(seats, 6, () => seat("b"));
    take(seats, 4, () => seat("c"));
    expect(seats.take(seat("d"))).toBe("full");
    expect(seats.tenantToYield("d")).toBe("a");
    expect(seats.tenantToYield("a")).toBe(null);
    expect(seats.tenantToYield("b")).toBe("a");
  });
});

test("50 viewers at once take exactly a tenant's own limit of seats, and each seat is released again", () => {
  const seats = new Seats({ all: 100, tenant: 60, key: 60, stream: 60 });
  const takeAll = () =>
    Array.from({ length: 50 }, (_, i) => seats.take({ tenant: "acme", keyId: "k", stream: `r${i}` }, 7));
  expect(takeAll().filter((verdict) => verdict === "taken")).toHaveLength(7);
  expect(seats.take({ tenant: "other", keyId: "k", stream: "r" })).toBe("taken");
  for (let i = 0; i < 7; i++) seats.release({ tenant: "acme", keyId: "k", stream: `r${i}` });
  expect(takeAll().filter((verdict) => verdict === "taken")).toHaveLength(7);
});

describe("admission of viewers", () => {
  function open(admission: ViewerAdmission, tenant: string) {
    const viewer = { status: 0, ended: false };
    viewer.status = admission.open(
      { seat: seat(tenant), maxStreams: null, untilMs: null, signal: new AbortController().signal },
      (_, onClosed) => ({
        body: new ReadableStream(),
        close() {
          viewer.ended = true;
          onClosed();
        },
      }),
    ).status;
    return viewer;
  }

  test("ends the latest viewer of the tenant with the most when a quiet tenant finds no free seat", () => {
    const admission = new ViewerAdmission(
      { all: 6, tenant: 4, key: 4, stream: 4 },
      async (ids) => new Set(ids),
    );
    const openMany = (tenant: string, count: number) =>
      Array.from({ length: count }, () => open(admission, tenant));
    const [crowded, other] = [openMany("crowded", 4), openMany("other", 2)];
    const quiet = open(admission, "quiet");
    expect(quiet.status).toBe(200);
    expect(crowded.map(({ ended }) => ended)).toEqual([false, false, false, true]);
    expect(other.some(({ ended }) => ended)).toBe(false);
    expect(open(admission, "crowded").status).toBe(429);
    expect(admission.viewers).toBe(6);
  });
});
