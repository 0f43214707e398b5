/** A distillation by several ranks of one process takes the steps of one by itself. */
import { assert, assertEquals } from "@std/assert";
import { distill } from "../../../methods/runs.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import type { DistillEvent } from "../../../methods/seed/events.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { readTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { relativeError } from "../../kernels/check_op.ts";
import { RunFolder } from "../small_run.ts";

const CHANNEL = import.meta.resolve("./channel_exchange.ts");
const NORMLESS = import.meta.resolve("./normless_encoder.ts");
await import(NORMLESS);

/** Weights, momentum and queue of a checkpoint. */
async function contentsOf(path: string): Promise<Map<string, Float32Array>> {
  using file = await openCheckpointFile(path);
  const { encoder, queue } = readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
  const contents = new Map<string, Float32Array>();
  for (const [key, tensor] of encoder) {
    if (!key.endsWith("num_batches_tracked")) contents.set(key, Float32Array.from(await tensor.read()));
  }
  contents.set("queue", Float32Array.from(await queue!.read()));
  return contents;
}

/** Runs a distillation by so many ranks, and returns the first one's losses and last checkpoint. */
async function runRanks(
  options: DistillOptions,
  size: number,
): Promise<{ losses: number[]; contents: Map<string, Float32Array>; checkpoint: string }> {
  const { dim: _, teacherArch: __, teacherSsl: ___, ...input } = options;
  const channel = crypto.randomUUID();
  const losses: number[] = [];
  const runs = Array.from({ length: size }, (_, rank) =>
    size === 1 ? distill(input) : distill(
      { ...input, actors: { gradient_exchange: CHANNEL } },
      { ranks: { rank, size, exchange: { channel } } },
    ));
  const take = (event: DistillEvent) => event.type === "step" ? losses.push(event.loss) : undefined;
  for await (const event of runs[0]) take(event);
  const results = await Promise.all(runs.map(({ result }) => result));
  const { checkpoint } = results[0];
  return { losses, contents: await contentsOf(checkpoint), checkpoint };
}

const PLAIN: Readonly<Record<string, Partial<DistillOptions>>> = {
  "plain steps": {},
  "accumulated, clipped steps": { accumulate: 2, clipGrad: 0.05 },
  "steps with small views": { smallViews: 2, smallSize: 16 },
};

/** The encoder without batch norm; and the one with it, whose statistics are then of all ranks. */
const CASES: Readonly<Record<string, [Partial<DistillOptions>, typeof PLAIN]>> = {
  "without batch norm": [{ studentArch: "normless", plugins: [NORMLESS] }, PLAIN],
  "with --sync-bn": [{ syncBn: true }, {
    ...PLAIN,
    "steps of activations that are computed again": { checkpointActivations: true },
  }],
};

for (const [encoder, [student, variants]] of Object.entries(CASES)) {
  for (const [name, changes] of Object.entries(variants)) {
    Deno.test(`2 and 4 ranks take the ${name} of a run by itself, ${encoder}`, async () => {
      using folder = new RunFolder(24);
      const runBy = (size: number) =>
        runRanks(folder.options(`${size}`, { batchSize: 8, queue: 32, ...student, ...changes }), size);
      const alone = await runBy(1);
      assertEquals(alone.losses.length, 3);
      for (const size of [2, 4]) {
        const { losses, contents } = await runBy(size);
        assert(relativeError(losses, alone.losses) < 1e-6, `losses ${losses}, not ${alone.losses}`);
        assertEquals([...contents.keys()], [...alone.contents.keys()]);
        for (const [key, values] of contents) {
          const error = relativeError(values, alone.contents.get(key)!);
          assert(error < 1e-5, `${key}: ${error}`);
        }
      }
    });
  }
}
