// When checkpoints are written, and which stay: the trainer alone, on batches that a test hands it.
import { assertEquals } from "@std/assert";
import type { SaveInterval } from "../../../methods/encoder_training/options.ts";
import { ActorSystem, type Monitor, spawnActor, type TrainerEvent, type TsvReader } from "../../../mod.ts";
import { runDistillation } from "../../../methods/seed/run.ts";
import { initializeQueue } from "../../../models/initialize.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { hear } from "../../actors/hear.ts";
import { digestFile, RunFolder, TINY_TEACHER } from "../../actors/small_run.ts";
import { batchOf } from "../../actors/single_colours.ts";

const SIZE = 32;

/** Trains on five batches of an epoch of ten, with pauses between. @returns after which batches a checkpoint was written */
async function savesOf(saveEvery: SaveInterval | null, pauseMs = 0): Promise<number[]> {
  using folder = new RunFolder(4);
  const options = folder.options("out", { saveEvery, queue: 64 });
  const system = new ActorSystem({ imports: options.plugins });
  return await system.run(async () => {
    let trained = 0;
    const saves: number[] = [];
    const monitor = system.listen<Monitor<TrainerEvent>>("monitor", {
      event(event) {
        if (event.type === "saved") saves.push(trained);
      },
    });
    const reader = system.listen<TsvReader>("reader", {
      connect() {},
      read: () => ({ images: 0 }),
      recycle() {},
    });
    const { ref: trainer } = spawnActor(system, "student_trainer", {
      options,
      queue: { keys: initializeQueue(options.queue, options.dim, 1), pointer: 0 },
      done: { epoch: 0, batch: 0 },
      batchesPerEpoch: 10,
      monitor,
    });
    await trainer.tell("connect", { readers: [reader] });
    for (; trained < 5;) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      trained++;
      await trainer.tell("train", batchOf(trained - 1, 4, "train", SIZE));
      await trainer.ask("weights"); // behind which the batch has been trained on
    }
    return saves;
  });
}

Deno.test("student_trainer saves every so many steps, or after so much time, or at the end of an epoch only", async () => {
  assertEquals(await savesOf({ steps: 2 }), [2, 4]);
  assertEquals(await savesOf({ seconds: 1e-6 }), [1, 2, 3, 4, 5]);
  // Far more than the pauses come to, if it is counted in seconds.
  assertEquals(await savesOf({ seconds: 200 }, 60), []);
  assertEquals(await savesOf(null), []);
});

Deno.test("runDistillation() keeps as many checkpoints as it is told to", async () => {
  using folder = new RunFolder(8);
  const options = folder.options("kept", { epochs: 3, keep: 1 });
  const { checkpoint } = await runDistillation(options);
  const names = [...Deno.readDirSync(options.output)].map(({ name }) => `${options.output}/${name}`);
  assertEquals(names, [checkpoint]);
});

Deno.test("checkpoints have the teacher that the run began with, where its file is replaced or removed", async () => {
  using folder = new RunFolder(8);
  const whole = await runDistillation(folder.options("whole", { epochs: 2 }));
  for (const harm of ["replaced", "removed"]) {
    const [teacher, other] = ["teacher", "other"].map((name) => `${folder.path}/${name}.pth.tar`);
    Deno.copyFileSync(TINY_TEACHER, teacher);
    await drawTeacher(other, "tiny_convnet", { kind: "mlp", dimension: 128 }, 2);
    const { checkpoint } = await runDistillation(
      folder.options(harm, { epochs: 2, distill: teacher }),
      hear({
        step({ step }) {
          if (step !== 1) return;
          if (harm === "replaced") Deno.renameSync(other, teacher);
          else Deno.removeSync(teacher);
        },
      }),
    );
    assertEquals(await digestFile(checkpoint), await digestFile(whole.checkpoint));
  }
});
