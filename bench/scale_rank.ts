/** One rank of `deno task bench scale`: times steps that are exchanged with the other ranks, and the same steps without. */
import type gradientExchange from "../actors/gradient_exchange.ts";
import { BUCKET_BYTES, DeviceExchange } from "../actors/ranks/device_exchange.ts";
import type { GradientCompression } from "../actors/ranks/ranks.ts";
import { PATIENCE } from "../actors/ranks/peers.ts";
import { joinWorld } from "../actors/ranks/world.ts";
import { ActorSystem } from "../actors/runtime/mod.ts";
import { openGpu } from "../kernels/gpu.ts";
import { rowChunks } from "../kernels/row_chunks.ts";
import type { StudentStep } from "../methods/seed/step.ts";
import { median } from "./measure.ts";
import { type RankTimes, SCALED, type ScaleWork } from "./scale.ts";
import { batchOf, startStep, stepOptions } from "./student_step.ts";

const [name, steps] = Deno.args;
const { encoder, batch, imageSize }: ScaleWork = SCALED[Number(name)];
const world = joinWorld(); // none of a single rank
const { rank, size } = world ?? { rank: 0, size: 1 };
const gpu = await openGpu("scale");
const system = new ActorSystem();
await system.run(async () => {
  const actor = world && system.spawn<typeof gradientExchange>(
    "gradient_exchange",
    import.meta.resolve("../actors/gradient_exchange.ts"),
    { rank, size, library: world.settings.exchange.library as string },
  );
  using exchanges = new DisposableStack();
  const options = stepOptions({ encoder, batch: batch / size, imageSize, queueSize: 1024 });
  const start = async (compress?: GradientCompression) => {
    const exchange = compress && actor &&
      exchanges.use(new DeviceExchange(gpu, { rank, size }, actor.ref, compress));
    return exchanges.use(await startStep(gpu, { ...options, ...exchange && { ranks: size } }, exchange));
  };
  const alone = await start();
  const shared = world && [await start("none"), await start("f16")];
  const views = batchOf(options, rank);
  const timeOf = async (step: StudentStep) => {
    const begin = performance.now();
    await step.run(views);
    return performance.now() - begin;
  };
  const timed = [alone, ...shared ?? []];
  const times = timed.map((): number[] => []);
  for (let i = -2; i < Number(steps); i++) {
    for (const [of, step] of timed.entries()) {
      await world?.meet(); // all ranks compute at the same time, with an exchange or without
      const ms = await timeOf(step);
      if (i >= 0) times[of].push(ms);
    }
  }
  const gradientBytes = alone.parameters.segments("gradient").reduce((sum, { size }) => sum + size, 0);
  const sums: number[] = [];
  for (let i = -2; actor && i < Number(steps); i++) {
    const buckets = rowChunks(gradientBytes / 4, 4, BUCKET_BYTES).map(({ count }) => new Float32Array(count));
    await world!.meet();
    const begin = performance.now();
    for (const bucket of buckets) await actor.ref.ask("sum", bucket, PATIENCE);
    if (i >= 0) sums.push(performance.now() - begin);
  }
  const [aloneMs, exchangedMs = aloneMs, compressedMs = aloneMs] = times.map(median);
  const sumMs = sums.length === 0 ? 0 : median(sums);
  const told: RankTimes = { aloneMs, exchangedMs, compressedMs, sumMs, gradientBytes };
  const all = await world?.gather(JSON.stringify(told)) ?? [JSON.stringify(told)];
  if (rank === 0) console.log(JSON.stringify(all.map((text) => JSON.parse(text))));
});
gpu.destroy();
await world?.leave();
