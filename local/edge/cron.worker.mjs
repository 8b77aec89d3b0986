// Runs the cron trigger of an edge on plain workerd, which has no clock of its own: each request runs it once.
export default {
  async fetch(_request, { EDGE }) {
    const { outcome } = await EDGE.scheduled({ scheduledTime: new Date(), cron: "*/15 * * * *" });
    return new Response(outcome, { status: outcome === "ok" ? 200 : 500 });
  },
};
