// What linear evaluations and fine-tunings leave in their folders.
import { assertEquals } from "@std/assert";
import { basename, join } from "node:path";
import type { Emit } from "../../actors/events.ts";
import type { ActorSystem } from "../../actors/runtime/mod.ts";
import { FINETUNE_SAMPLE_DEFAULTS } from "../../methods/finetune/options.ts";
import type { FinetuneEvent } from "../../methods/finetune/events.ts";
import { runFinetune } from "../../methods/finetune/run.ts";
import type { LinearEvent } from "../../methods/linear_probe/events.ts";
import { LINEAR_SAMPLE_DEFAULTS } from "../../methods/linear_probe/options.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import { slowClock } from "../actors/slow_clock.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

interface Changes {
  output: string;
  epochs: number;
  resume?: string;
}

function commonIn(folder: RunFolder, changes: Changes) {
  return {
    pretrained: TINY_TEACHER,
    arch: "tiny_convnet",
    plugins: [TINY_ENCODER],
    which: "student" as const,
    data: join(folder.data, "train.tsv"),
    testData: join(folder.data, "test.tsv"),
    resume: null,
    evaluate: false,
    classes: null,
    workers: 1,
    batchSize: 16,
    ...changes,
  };
}

type Run = (
  folder: RunFolder,
  changes: Changes,
  emit?: Emit<LinearEvent | FinetuneEvent>,
) => Promise<{ checkpoint: string | null }>;

const runs: Record<string, [form: string, trainer: string, run: Run]> = {
  "runLinearEvaluation()": [
    "lincls_checkpoint_",
    "linear_trainer",
    (folder, changes, emit) =>
      runLinearEvaluation({ ...LINEAR_SAMPLE_DEFAULTS, ...commonIn(folder, changes) }, emit),
  ],
  "runFinetune()": [
    "finetune_checkpoint_",
    "finetune_trainer",
    (folder, changes, emit) =>
      runFinetune({ ...FINETUNE_SAMPLE_DEFAULTS, ...commonIn(folder, changes) }, emit),
  ],
};

function checkpointsIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => name.includes("checkpoint"))
    .sort();
}

/** Waits for `act` when the first file of that name is to be removed. */
function whenRemoved(name: string, act: () => void | Promise<void>): Disposable {
  const { remove } = Deno;
  let acts: typeof act | undefined = act;
  Deno.remove = async (path, options) => {
    if (basename(String(path)) === name) {
      const first = acts;
      acts = undefined;
      await first?.();
    }
    await remove(path, options);
  };
  return { [Symbol.dispose]: () => Deno.remove = remove };
}

const crashes: Readonly<Record<string, boolean>> = {
  "goes on when an actor crashes while the checkpoint before is removed": false,
  "begins again where all actors have started again before that one is gone": true,
};

for (const [name, [form, trainer, run]] of Object.entries(runs)) {
  for (const [title, isRestartedFirst] of Object.entries(crashes)) {
    Deno.test(`${name} ${title}, and keeps the newest alone`, async () => {
      using folder = new RunFolder(40, 20);
      const checkpoint = (epoch: number) => `${form}000${epoch}.pth.tar`;
      const output = folder.makeOutput("out");
      let actors: ActorSystem["actors"];
      let started = Promise.withResolvers<void>();
      const told: string[] = [];
      const ran = await (async () => {
        using _ = slowClock();
        using __ = whenRemoved(checkpoint(1), async () => {
          started = Promise.withResolvers();
          actors.get(trainer)!.crash(new TypeError("bad luck"));
          if (isRestartedFirst) await started.promise;
        });
        return await run(folder, { output, epochs: 4 }, (event) => {
          if (event.type === "actors") {
            actors = event.actors;
            started.resolve();
          }
          if (event.type === "checkpoint") told.push(basename(event.path));
        });
      })();
      assertEquals(told, [0, 1, 2, 3].map(checkpoint));
      assertEquals(checkpointsIn(output), [checkpoint(3)]);

      // One that is gone on from goes too, but not from the folder of another run.
      const other = folder.makeOutput("other");
      await run(folder, { output: other, epochs: 5, resume: ran.checkpoint! });
      assertEquals([checkpointsIn(output), checkpointsIn(other)], [[checkpoint(3)], [checkpoint(4)]]);
      await run(folder, { output, epochs: 5, resume: ran.checkpoint! });
      assertEquals(checkpointsIn(output), [checkpoint(4)]);
    });
  }
}
