/**
 * A rank that calls everything that the binding has, and says what came of it. With `hang` the second one stops in the middle,
 * with `away` it lives and goes no further, with `gone` it leaves alone; with `late` the first one begins later than a rank may be
 * silent or away.
 */
import { ActorSystem } from "../../../actors/runtime/mod.ts";
import type gradientExchange from "../../../actors/gradient_exchange.ts";
import { joinWorld } from "../../../actors/ranks/world.ts";

const world = joinWorld()!;
const { rank, size, settings } = world;
await world.findNeighbours();
const { onMachine } = world.settings;
const shared = await world.share(() => ({ from: rank, text: "é" }));
const texts = await world.gather(`rank ${rank}${"!".repeat(rank)}`);
const SILENCE_MS = 3000;
const [how] = Deno.args;
if (how === "late" && rank === 0) {
  await new Promise((resolve) => setTimeout(resolve, 2 * SILENCE_MS));
}
const system = new ActorSystem();
await system.run(async () => {
  const { ref } = system.spawn<typeof gradientExchange>(
    "gradient_exchange",
    import.meta.resolve("../../../actors/gradient_exchange.ts"),
    {
      ...{ rank, size, library: settings.exchange.library as string, silenceMs: SILENCE_MS },
      ...how === "away" && { absenceMs: SILENCE_MS },
      ...how === "late" && { absenceMs: 1.5 * SILENCE_MS },
    },
  );
  if (how === "late" && rank === 0) {
    await new Promise((resolve) => setTimeout(resolve, SILENCE_MS)); // the other hears that it has begun
  }
  const agreed = await ref.ask("agree", Int32Array.of(rank, -rank, 7));
  if (how === "hang" && rank === 1) Deno.kill(Deno.pid, "SIGSTOP");
  await ref.ask("agree", Int32Array.of(0), { timeoutMs: Infinity });
  if (how === "gone" && rank === 1) return;
  // Larger than what is sent at once, and no whole number of anything.
  const numbers = Float32Array.from({ length: 300_001 }, (_, i) => (rank + 1) * (i % 1000));
  const halves = await ref.ask("sumHalves", numbers.slice());
  if (how === "away" && rank === 1) await new Promise(() => {});
  const sum = await ref.ask("sum", numbers);
  const gathered = await ref.ask("gather", Float32Array.of(rank, 0.5));
  const broadcast = await ref.ask("broadcast", Float32Array.of(rank + 3));
  console.log(JSON.stringify({
    ...{
      rank,
      size,
      onMachine,
      shared,
      texts,
      agreed: [...agreed],
      gathered: [...gathered],
      broadcast: [...broadcast],
    },
    sum: [sum.length, sum[1], sum[299_999], sum[300_000]],
    halves: [halves.length, halves[1], halves[299_999], halves[300_000]],
  }));
}).catch(async (error) => {
  console.error(error.failure.message);
  await new Promise((resolve) => setTimeout(resolve, 200)); // MPICH's launcher loses what it has not read by the end
  world.abort(3);
});
await world.leave();
