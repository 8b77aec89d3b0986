/** The limit on a tenant's open streams. */
import { z } from "zod";
import { Viewer } from "../../services/viewer.ts";
import type { Clients } from "./clients.ts";
import type { LimitRow } from "./limit-row.ts";

const Accepted = z.object({ run_id: z.string() });

export function streamRows(clients: Clients): LimitRow[] {
  const streams: Viewer[] = [];
  return [
    {
      name: "max_open_streams",
      most: 7,
      least: 7,
      prepare: (tenant) => clients.limit(tenant, { max_open_streams: 7 }),
      async flood(tenant) {
        const { run_id } = Accepted.parse(await (await clients.start(tenant, "orch_asks")).json());
        const headers = { authorization: `Bearer ${await clients.keyOf(tenant)}` };
        const url = `${clients.system.facts.api_base}/api/v2/orchestrations/runs/${run_id}/stream`;
        const viewers = await clients.fifty(() => Viewer.open(url, headers).catch(() => null));
        const seated = viewers.filter((viewer) => viewer !== null).filter(({ status }) => status === 200);
        streams.push(...seated);
        return seated.length;
      },
      async settle(tenant) {
        for (const stream of streams.splice(0)) stream.leave();
        await clients.cancelAll(tenant);
      },
    },
  ];
}
