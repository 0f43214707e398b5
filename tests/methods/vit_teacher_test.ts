// Vision transformers in the tasks, read off tiny checkpoints as their programs wrote them.
import { assert, assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { EmbedInput } from "../../methods/runs.ts";
import { distill, embed, knn, linearProbe, pretrain } from "../../methods/runs.ts";
import { SAMPLE_TEACHER } from "../../data/sample.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { loadStateDict } from "../../models/checkpoint/state_dict.ts";
import { UserError } from "../../errors.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { resolveTeacher } from "../../models/teacher.ts";
import { RunFolder } from "../actors/small_run.ts";
import { IS_LONG } from "../long.ts";
import { referencePath } from "../reference.ts";
import { vitTest } from "../vit_files.ts";

const FOLDER = "vit/checkpoints";
/** Nothing in the file tells how many heads it has: 2, where its width speaks for 1. */
const TEACHER = referencePath(`${FOLDER}/dino_tiny_full.pth`);
const [ONE, TWO] = [1, 2].map((heads) => `dino_vit_p16_w64_b2_h${heads}_f256_r0_g4`);
const SIZE = { imageSize: 32 };

vitTest("--heads of a vision transformer changes what it gives, in every task", async () => {
  using folder = new RunFolder(12, 6);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));

  const rowsOf = async (how: { heads?: number; arch?: string }) => {
    const rows: number[] = [];
    for await (const event of embed({ pretrained: TEACHER, data, part: "encoder", ...how, ...SIZE })) {
      if (event.type === "rows") rows.push(...event.embeddings);
    }
    return rows;
  };
  const two = await rowsOf({ heads: 2 });
  assertEquals(two.length, 12 * 64);
  assertEquals(await rowsOf({ arch: TWO }), two);
  assertNotEquals(await rowsOf({}), two);

  const exported = async (heads?: number) => {
    const how = { format: "pth", part: "backbone", normalize: false, force: true } as const;
    return (await exportEncoder({ ...how, heads, checkpoint: TEACHER, output: join(folder.path, "x.pth") }))
      .encoder;
  };
  assertEquals([await exported(), await exported(2)], [ONE, TWO]);
  const inspected = await Promise.all([undefined, 2].map((heads) => inspectCheckpoint(TEACHER, { heads })));
  assertEquals(inspected.map(({ encoders: [encoder] }) => encoder.recognized), [[ONE], [TWO]]);
  assertEquals(await resolveTeacher(TEACHER, { heads: 2 }), { arch: TWO, ssl: "dino" });

  // Three do not divide the width.
  const refused = await assertRejects(
    () => knn({ pretrained: TEACHER, heads: 3, data, testData, knnK: [3], ...SIZE }).result,
    UserError,
  );
  assertStringIncludes(refused.message, "of width 64: say with --heads how many heads it has");

  const probe = await linearProbe({
    ...{ pretrained: TEACHER, heads: 2, data, testData, ...SIZE },
    ...{ output: folder.makeOutput("linear"), epochs: 1, batchSize: 4, workers: 1, cacheFeatures: true },
  }).result;
  using file = await openCheckpointFile(probe.checkpoint!);
  assertEquals((file.value as Map<string, unknown>).get("arch"), TWO);

  const { dim: _, teacherArch: __, teacherSsl: ___, ...run } = folder.options("two", {
    distill: TEACHER,
    ...SIZE,
  });
  const taught = await distill({ ...run, heads: 2, limitSteps: 1 }).result;
  assertStringIncludes(taught.checkpoint!, TWO); // its name says the teacher
  // The student's embeddings are as long as the teacher's feature.
  using student = await openCheckpointFile(taught.checkpoint!);
  const { encoders } = await inspectCheckpoint(student.path);
  assertEquals(encoders.map(({ name, head, embedding }) => [name, head?.dimension ?? embedding]), [
    ["student", 64],
    ["teacher", 64],
  ]);
  // The checkpoint remembers the teacher's heads.
  assertEquals(encoders[1].recognized, [TWO]);
});

vitTest(
  "DINO's images are resized by a bicubic filter in evaluations, and so are its students'",
  async () => {
    using folder = new RunFolder(12, 6);
    const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
    const size = { imageSize: 48 }; // of images of 32 pixels, which become 55 wide
    const embedAll = async (input: Partial<EmbedInput>) => {
      const rows: number[] = [];
      const notes: string[] = [];
      let views: string | undefined;
      for await (const event of embed({ pretrained: TEACHER, heads: 2, data, ...size, ...input })) {
        if (event.type === "rows") rows.push(...event.embeddings);
        if (event.type === "note") notes.push(event.text);
        if (event.type === "plan") views = event.evalResize;
      }
      return { rows, notes: notes.join("\n"), views };
    };
    const usual = await embedAll({});
    const bicubic = await embedAll({ evalResize: "torchvision-bicubic" });
    const bilinear = await embedAll({ evalResize: "torchvision" });
    assertEquals(
      [usual, bicubic, bilinear].map(({ views }) => views),
      ["torchvision-bicubic", "torchvision-bicubic", "torchvision"],
    );
    assertEquals(usual.rows, bicubic.rows);
    assertNotEquals(usual.rows, bilinear.rows);
    assertStringIncludes(bilinear.notes, "by the bilinear filter, as requested, and not by the bicubic one");
    assert(!usual.notes.includes("filter") && !bicubic.notes.includes("filter"));

    await using evaluation = knn({ pretrained: TEACHER, heads: 2, data, testData, knnK: [3], ...size });
    for await (const event of evaluation) {
      if (event.type === "plan") assertEquals(event.evalResize, "torchvision-bicubic");
    }

    const { dim: _, teacherArch: __, teacherSsl: ___, evalResize: ____, ...run } = folder.options("run", {
      ...{ distill: TEACHER, ...size },
    });
    const { checkpoint } = await distill({ ...run, heads: 2, limitSteps: 1 }).result;
    using state = await loadStateDict(checkpoint);
    assertEquals([state.input?.interpolation, state.teacherInput?.interpolation], ["bicubic", "bicubic"]);
    assertEquals((await embedAll({ pretrained: checkpoint, heads: undefined })).views, "torchvision-bicubic");

    const copy = {
      checkpoint: TEACHER,
      heads: 2,
      output: join(folder.path, "copy.pth"),
      format: "pth",
    } as const;
    const { input } = await exportEncoder({ ...copy, part: "backbone", normalize: false, force: false });
    assertEquals([input.cropRatio, input.interpolation], [224 / 256, "bicubic"]);
  },
);

// What docs/tutorial.md does in its section on vision transformers, in two steps of each run.
Deno.test("a vit_tiny is pretrained or taught by a ResNet, and teaches a mobilenetv3_small", {
  ignore: !IS_LONG, // its kernels take 20 s to compile; smaller ones of its kind are trained in vit_student_test.ts
}, async () => {
  using folder = new RunFolder(8, 4);
  const run = (name: string, distilled: string, studentArch: string) => {
    const { teacherArch: _, teacherSsl: __, dim: ___, ...options } = folder.options(name, {
      ...{ distill: distilled, studentArch, imageSize: 32, testData: join(folder.data, "test.tsv"), knnK: 3 },
    });
    return distill(options).result;
  };
  const vit = await run("vit", SAMPLE_TEACHER, "vit_tiny");
  const small = await run("small", vit.checkpoint, "mobilenetv3_small");
  for (const { firstLoss, lastLoss } of [vit, small]) assert(Number.isFinite(firstLoss + lastLoss));
  // As a teacher it gives what it gave as a student: the same images are classified alike.
  assertEquals(small.knn?.teacher, vit.knn?.after);
  const { encoders } = await inspectCheckpoint(small.checkpoint);
  assertEquals(encoders.map(({ name, recognized: [encoder] }) => [name, encoder]), [
    ["student", "mobilenetv3_small"],
    ["teacher", "vit_tiny_32"],
  ]);

  const pretrained = await pretrain({
    ...{ data: folder.data, testData: join(folder.data, "test.tsv"), output: folder.makeOutput("moco") },
    ...{ arch: "vit_tiny", imageSize: 32, batchSize: 8, mocoK: 16, epochs: 1, workers: 1, insight: false },
    knnK: 3,
  }).result;
  const other = { arch: "vit_tiny", imageSize: 48, batchSize: 8, mocoK: 16, epochs: 2, workers: 1 };
  const error = await assertRejects(
    () =>
      pretrain({
        ...other,
        data: folder.data,
        output: folder.makeOutput("other"),
        resume: pretrained.checkpoint,
      }).result,
    UserError,
  );
  assertStringIncludes(error.message, "holds a vit_tiny_32, but --arch is vit_tiny_48; use --image-size 32");
  // It is a teacher as the one above; the tutorial's own commands have it teach (`tests/docs/commands_run_test.ts`, long).
  assertEquals(await resolveTeacher(pretrained.checkpoint), { arch: "vit_tiny_32", ssl: "moco" });
});
