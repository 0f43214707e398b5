import { assertEquals } from "@std/assert";
import { basename, join } from "node:path";
import { LINEAR_SAMPLE_DEFAULTS } from "../../../methods/linear_probe/options.ts";
import {
  type ActorRef,
  ActorSystem,
  type LinearActorEvent,
  type LinearTrainer,
  type Monitor,
  spawnActor,
  type TsvReader,
} from "../../../mod.ts";
import { BEST_CHECKPOINT } from "../../../models/checkpoint/run_checkpoints.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import type { TorchDict } from "../../../models/checkpoint/torch_value.ts";
import { batchOf } from "../../actors/single_colours.ts";
import type channelExchange from "../../actors/ranks/channel_exchange.ts";
import { RunFolder, TINY_ENCODER } from "../../actors/small_run.ts";

/** No machine needs so long for what is asked here. */
const PATIENCE = { timeoutMs: 120_000 };

const BATCH = 4;

const CHANNEL = import.meta.resolve("../../actors/ranks/channel_exchange.ts");

/** A trainer of one probe that has kept the features of eight batches, alone or as the only rank. */
async function withTrainer(
  isRank: boolean,
  onEvent: (event: LinearActorEvent) => void | Promise<void>,
  work: (trainer: ActorRef<LinearTrainer>, output: string) => Promise<void>,
): Promise<void> {
  using folder = new RunFolder(4, 4);
  const options = {
    ...LINEAR_SAMPLE_DEFAULTS,
    ...folder.labelledOptions("out"),
    ...{ epochs: 9, batchSize: BATCH, lr: [0.03], resume: null, evaluate: false, classes: null },
  };
  const system = new ActorSystem({ imports: [TINY_ENCODER] });
  await system.run(async () => {
    const monitor = system.listen<Monitor<LinearActorEvent>>("monitor", { event: onEvent });
    const reader = system.listen<TsvReader>("reader", {
      connect() {},
      read: () => ({ images: 0 }),
      recycle() {},
    });
    const peers = { rank: 0, size: 1 };
    const exchange = isRank &&
      system.spawn<typeof channelExchange>("exchange", CHANNEL, { ...peers, channel: crypto.randomUUID() })
        .ref;
    const { ref: trainer } = spawnActor(system, "linear_trainer", {
      ...{ options, features: 128, classes: 2, keepsQueries: true, isFromElsewhere: false, monitor },
      ...exchange && { ranks: { ...peers, exchange, trainImages: 8 * BATCH, epoch: 0 } },
    });
    await trainer.tell("connect", { readers: [reader] });
    for (let batch = 0; batch < 8; batch++) await trainer.tell("consume", batchOf(batch, BATCH, "bank", 8));
    await work(trainer, options.output);
  });
}

/** Notes the end of an epoch after which the probe was so good, in percent. */
function note(trainer: ActorRef<LinearTrainer>, epoch: number, top1: number): Promise<void> {
  return trainer.ask("note", { epoch, best: [top1], diverged: [false], tested: [top1], probe: 0 }, PATIENCE);
}

async function rootOf(path: string): Promise<TorchDict> {
  using file = await openCheckpointFile(path);
  return file.value as TorchDict;
}

Deno.test("linear_trainer saves in the middle of an epoch on kept features", async () => {
  const held = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const hold = (event: LinearActorEvent) => {
    if (event.type !== "batch" || event.epoch === 0) return;
    held.resolve();
    return gate.promise;
  };
  await withTrainer(false, hold, async (trainer) => {
    const train = (epoch: number) => trainer.ask("trainOnKept", { epoch, learningRates: [0.03] }, PATIENCE);
    await train(0);
    await note(trainer, 1, 50);
    let isOver = false;
    const second = train(1).then(() => isOver = true);
    await held.promise;
    const { path } = await trainer.ask("save", undefined, PATIENCE);
    assertEquals([basename(path!), isOver], ["lincls_checkpoint_0000.pth.tar", false]);
    assertEquals((await rootOf(path!)).get("epoch"), 1);
    gate.resolve();
    await second;
  });
});

Deno.test("linear_trainer of a rank saves what is noted while it saves, too", async () => {
  await withTrainer(true, () => {}, async (trainer, output) => {
    await note(trainer, 1, 10);
    for (let epoch = 1; epoch < 7; epoch++) {
      const [{ path }] = await Promise.all([
        trainer.ask("save", undefined, PATIENCE),
        note(trainer, epoch + 1, 10 * (epoch + 1)),
      ]);
      const [newest, best] = await Promise.all([path!, join(output, BEST_CHECKPOINT)].map(rootOf));
      assertEquals([newest.get("epoch"), best.get("epoch"), Number(best.get("best_acc1"))], [
        epoch,
        epoch,
        10 * epoch,
      ]);
    }
  });
});
