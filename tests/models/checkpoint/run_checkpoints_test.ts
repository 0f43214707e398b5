import { assertEquals, assertRejects } from "@std/assert";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import {
  findNewestCheckpoint,
  listCheckpoints,
  pruneCheckpoints,
  removeLeftovers,
  setAsideLater,
} from "../../../models/checkpoint/run_checkpoints.ts";
import { referencePath } from "../../reference.ts";
import { withFolder } from "./fixtures.ts";

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).toSorted();

Deno.test("a run's checkpoints are found by their numbers, pruned, and the newest whole one is taken", async () => {
  await withFolder(async (folder) => {
    const whole = Deno.readFileSync(referencePath("checkpoints/seed_student.zip.pth.tar"));
    const name = (epoch: number) =>
      `Teacher_moco_Student_x-checkpoint_${String(epoch).padStart(4, "0")}.pth.tar`;
    for (const epoch of [2, 10, 9, 10_000]) Deno.writeFileSync(`${folder}/${name(epoch)}`, whole);
    const leftover = `.${name(10)}.0a1b2c3d.tmp`;
    const others = ["log.txt", "model_best.pth.tar", leftover];
    for (const other of others) Deno.writeTextFileSync(`${folder}/${other}`, "x");
    const epochs = async () => (await listCheckpoints(folder)).map(({ epoch }) => epoch);
    assertEquals(await epochs(), [2, 9, 10, 10_000]);

    const damaged: string[] = [];
    const find = () => findNewestCheckpoint(folder, (problem) => damaged.push(problem));
    assertEquals([await find(), damaged], [`${folder}/${name(10_000)}`, []]);
    Deno.writeFileSync(`${folder}/${name(10_000)}`, whole.subarray(0, 1000));
    assertEquals([await find(), damaged.length], [`${folder}/${name(10)}`, 1]);

    await pruneCheckpoints(folder, `${folder}/${name(10_000)}`, 2);
    assertEquals(await epochs(), [10, 10_000]);
    await pruneCheckpoints(folder, `${folder}/${name(10_000)}`, 5);
    assertEquals(await epochs(), [10, 10_000]);

    // What is not the run's own is left alone: a copy, and a teacher.
    const copies = [`best_${name(3)}`, "moco_teacher_checkpoint_0002.pth.tar"];
    for (const copy of copies) Deno.writeFileSync(`${folder}/${copy}`, whole);
    await pruneCheckpoints(folder, `${folder}/${name(10_000)}`, 2);
    assertEquals(await epochs(), [2, 3, 10, 10_000]);
    for (const copy of copies) Deno.removeSync(`${folder}/${copy}`);
    await removeLeftovers(folder);
    assertEquals(namesIn(folder), [name(10), name(10_000), "log.txt", "model_best.pth.tar"].toSorted());
  });
  await withFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/x-checkpoint_0003.pth.tar`, "half of it");
    await assertRejects(
      () => findNewestCheckpoint(folder, () => {}),
      CheckpointError,
      "x-checkpoint_0003.pth.tar",
    );
  });
  assertEquals(await listCheckpoints("/no/such/folder"), []);
  assertEquals(await findNewestCheckpoint("/no/such/folder", () => {}), null);
});

Deno.test("a run's later checkpoints are set aside, but for the one that it goes on from and what is of other names", async () => {
  await withFolder(async (folder) => {
    const name = (epoch: number, epochs = 200) =>
      `Teacher_moco_T-Epoch_${epochs}_x-checkpoint_000${epoch}.pth.tar`;
    const others = ["model_best.pth.tar", "moco_teacher_checkpoint_0199.pth.tar", `best_${name(4)}`];
    const all = [name(1), name(2), name(3), name(4, 100), name(5), `${name(3)}.superseded`, ...others];
    for (const one of all) Deno.writeTextFileSync(`${folder}/${one}`, one);
    const paths = await setAsideLater(folder, { name: name(0), epoch: 1, resume: `${folder}/./${name(2)}` });
    assertEquals(paths, [name(3), name(4, 100), name(5)].map((name) => `${folder}/${name}`));
    assertEquals(
      namesIn(folder),
      [
        ...[name(1), name(2), `${name(3)}.superseded`, `${name(3)}.superseded-2`],
        ...[`${name(4, 100)}.superseded`, `${name(5)}.superseded`, ...others],
      ].toSorted(),
    );
    assertEquals(Deno.readTextFileSync(`${folder}/${name(3)}.superseded-2`), name(3));
  });
});

Deno.test("of two checkpoints of one epoch the one written later is the newer, and what was just written stays", async () => {
  await withFolder(async (folder) => {
    const whole = Deno.readFileSync(referencePath("checkpoints/seed_student.zip.pth.tar"));
    const [before, after] = [50, 100].map((epochs) =>
      `${folder}/T-Epoch_${epochs}_x-checkpoint_0020.pth.tar`
    );
    for (const [i, path] of [before, after].entries()) {
      Deno.writeFileSync(path, whole);
      Deno.utimeSync(path, 1000 + i, 1000 + i);
    }
    assertEquals((await listCheckpoints(folder)).map(({ path }) => path), [before, after]);
    assertEquals(await findNewestCheckpoint(folder, () => {}), after);
    // A link to nothing hides no other.
    const nowhere = `${folder}/x-checkpoint_0000.pth.tar`;
    Deno.symlinkSync(`${folder}/gone`, nowhere);
    assertEquals((await listCheckpoints(folder)).map(({ path }) => path), [nowhere, before, after]);
    Deno.removeSync(nowhere);
    // Whatever a clock says.
    Deno.utimeSync(after, 500, 500);
    await pruneCheckpoints(folder, after, 1);
    assertEquals((await listCheckpoints(folder)).map(({ path }) => path), [after]);
  });
});

Deno.test("a run's checkpoints are ordered by their numbers, whenever they were written", async () => {
  await withFolder(async (folder) => {
    for (const [epoch, written] of [[3, 1000], [1, 3000], [2, 2000]]) {
      const path = `${folder}/x-checkpoint_000${epoch}.pth.tar`;
      Deno.writeTextFileSync(path, "");
      Deno.utimeSync(path, written, written);
    }
    assertEquals((await listCheckpoints(folder)).map(({ epoch }) => epoch), [1, 2, 3]);
  });
});
