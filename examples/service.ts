/**
 * A long-running service that distils, and tells Prometheus and people how it goes. It listens on this machine only.
 *
 *     deno run -A examples/service.ts OUTPUT [PORT]
 *     curl http://127.0.0.1:8000/metrics
 *     curl -X POST http://127.0.0.1:8000/stop     saves a checkpoint and ends the run; the service goes on
 */
import { type ActorSystem, distill, sampleOptions } from "@seed/distillation";

const [output = "output/service", port = "8000"] = Deno.args;

const run = distill(sampleOptions({ output, testData: null, epochs: 1, insight: false })); // no kNN, no insight
const gauges = new Map<string, number>();
let state = "starting";
let actors: ActorSystem["actors"] = new Map();

async function watch(): Promise<void> {
  for await (const event of run) {
    switch (event.type) {
      case "plan":
        gauges.set("seed_steps_planned", event.totalSteps);
        break;
      case "actors":
        actors = event.actors;
        state = "running";
        break;
      case "step":
        gauges.set("seed_step", event.step).set("seed_loss", event.loss).set("seed_learning_rate", event.lr);
        break;
      case "warning":
        console.error(event.text);
    }
  }
}
watch().then(() => state = "finished", (error) => state = `ended: ${error.message}`);

/** Prometheus' text format; of each actor, the share of its time that it was busy. */
async function metrics(): Promise<string> {
  const lines = [...gauges].map(([name, value]) => `${name} ${value}`);
  for (const { name, ...stats } of await Promise.all([...actors.values()].map((actor) => actor.stats()))) {
    const share = stats.busyMs / (stats.busyMs + stats.waitingMs + stats.idleMs);
    lines.push(`seed_actor_busy{actor="${name}"} ${share.toFixed(4)}`);
  }
  return lines.join("\n") + "\n";
}

Deno.serve({ hostname: "127.0.0.1", port: Number(port) }, async (request) => {
  const route = `${request.method} ${new URL(request.url).pathname}`;
  switch (route) {
    case "GET /metrics":
      return new Response(await metrics(), { headers: { "content-type": "text/plain; version=0.0.4" } });
    case "GET /":
      return Response.json({ state, ...Object.fromEntries(gauges) });
    case "POST /stop":
      await run.stop(new Error("stopped by a request"));
      return new Response("stopped\n");
    default:
      return new Response("not found\n", { status: 404 });
  }
});
