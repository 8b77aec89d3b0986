/** The process that serves the edges: settings as JSON in SYNAPSE_EDGE, one line when they listen, an end on SIGTERM. */
import { buildEdge } from "./build.ts";
import { EdgeSettings, startEdges } from "./miniflare.ts";

const settings = EdgeSettings.parse(JSON.parse(process.env.SYNAPSE_EDGE ?? "null"));
const edges = await startEdges(await buildEdge(settings.build), settings);
console.log(JSON.stringify({ event: "edge.listening", ports: settings.ports }));

process.once("SIGTERM", () => {
  void edges.stop().then(() => process.exit());
});
