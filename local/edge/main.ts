/**
 * The process that serves the edges. It reads its settings as JSON from SYNAPSE_EDGE, writes one line when the
 * edges listen, and ends on SIGTERM.
 */
import { buildEdge } from "./build.ts";
import { EdgeSettings, startEdges } from "./miniflare.ts";

const settings = EdgeSettings.parse(JSON.parse(process.env.SYNAPSE_EDGE ?? "null"));
const edges = await startEdges(await buildEdge(settings.build), settings);
console.log(JSON.stringify({ event: "edge.listening", ports: settings.ports }));

process.once("SIGTERM", () => {
  void edges.stop().then(() => process.exit());
});
