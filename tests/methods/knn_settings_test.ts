// The kNN's settings through the actors, compared with a classifier that is given the features by hand.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { countVote, sampleVote } from "../../methods/encoder_training/evaluations.ts";
import type { EncoderTrainingEvent } from "../../methods/encoder_training/events.ts";
import { HELD_OUT } from "../../methods/held_out.ts";
import { runDistillation } from "../../methods/seed/run.ts";
import { runKnnEvaluation } from "../../methods/knn.ts";
import { knn } from "../../methods/runs.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import { openDataset } from "../../data/open_dataset.ts";
import { BatchReader } from "../../data/batch_reader.ts";
import { packImages, TABLE_STRIDE } from "../../data/pack.ts";
import { sampleRows } from "../../data/sample_rows.ts";
import { EpochOrder } from "../../data/sampler.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { ViewMaker } from "../../kernels/image/view_maker.ts";
import { evaluationView } from "../../kernels/image/view_parameters.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { WeightedKnn } from "../../models/knn.ts";
import { findEncoder } from "../../models/registry.ts";
import { withGpu } from "../kernels/check_op.ts";
import { hear } from "../actors/hear.ts";
import { type DrawnTeacher, drawTeacher } from "../actors/drawn_teacher.ts";
import {
  RunFolder,
  sampleRows as firstRows,
  TINY_ENCODER,
  TINY_TEACHER,
  withOneClass,
} from "../actors/small_run.ts";

const SIZE = 24;
/** Of a student whose teacher has another one. */
const STUDENT_SIZE = 16;

/** Features and labels of all images of a file, whose shorter side becomes so many pixels of a view's. */
async function embedByHand(
  gpu: Gpu,
  path: string,
  { arch, head, values }: DrawnTeacher,
  shorter: number = SIZE,
  size: number = SIZE,
) {
  using dataset = await openDataset(path);
  const batch = dataset.rowCount;
  const encoder = findEncoder(arch);
  using frozen = await FrozenEncoder.create(gpu, {
    encoder,
    head,
    batch,
    imageSize: size,
    output: "feature",
  });
  await frozen.load((key) => values.get(key)!);
  const maker = new ViewMaker(gpu, { views: batch, width: size, height: size });
  const order = new EpochOrder(batch, 0, 0, batch, { shuffle: false });
  const images = packImages(await new BatchReader(dataset).read(order, 0));
  const fields = Array.from({ length: batch }, (_, i) => images.table.subarray(i * TABLE_STRIDE));
  const views = fields.map(([, width, height], i) => evaluationView(width, height, shorter, size, i));
  const features = await frozen.embed(await maker.augment(images, views));
  maker.destroy();
  return { features, labels: fields.map(([, , , , label]) => label) };
}

Deno.test("kNN votes with as many neighbours and at the temperature that it is told, alone and in a distillation, whose teacher is evaluated at its own size", () =>
  withGpu(async (gpu) => {
    using folder = new RunFolder(60, 40);
    const [bankData, queryData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
    const path = join(folder.path, "encoder.pth.tar");
    const teacher = await drawTeacher(path, "tiny_convnet", { kind: "mlp", dimension: 20 }, 7);
    const [bank, queries] = [
      await embedByHand(gpu, bankData, teacher),
      await embedByHand(gpu, queryData, teacher),
    ];
    // What --eval-resize is at its default here.
    const cut = Math.round(SIZE * 256 / 224);
    const [cutBank, cutQueries] = [
      await embedByHand(gpu, bankData, teacher, cut),
      await embedByHand(gpu, queryData, teacher, cut),
    ];
    const [smallBank, smallQueries] = [
      await embedByHand(gpu, bankData, teacher, STUDENT_SIZE, STUDENT_SIZE),
      await embedByHand(gpu, queryData, teacher, STUDENT_SIZE, STUDENT_SIZE),
    ];
    const evaluate = async (k: number, temperature: number, [voters, evaluated] = [bank, queries]) => {
      using knn = new WeightedKnn(gpu, { dimension: 8, classes: 10, k, temperature });
      await knn.addToBank(voters.features, voters.labels);
      return await knn.accuracy(evaluated.features, evaluated.labels);
    };
    // Settings that make a difference to the defaults, and of which each makes one alone.
    const same = (a: object, b: object) => JSON.stringify(a) === JSON.stringify(b);
    let [k, temperature] = [0, 0];
    for (const tried of [0.003, 0.006, 0.012, 0.025, 0.5, 3].flatMap((t) => [5, 9, 13].map((k) => [k, t]))) {
      const found = await evaluate(tried[0], tried[1]);
      const others = [[tried[0], 0.07], [20, tried[1]], [200, tried[1]], [20, 0.07], [200, 0.07]];
      const evaluated = await Promise.all(others.map(([k, t]) => evaluate(k, t)));
      evaluated.push(await evaluate(tried[0], tried[1], [cutBank, cutQueries]));
      evaluated.push(await evaluate(tried[0], tried[1], [smallBank, smallQueries]));
      if (evaluated.some((other) => same(other, found))) continue;
      [k, temperature] = tried;
      break;
    }
    assert(k > 0, "no settings make a difference on these images");
    const expected = [await evaluate(k, temperature), await evaluate(4, temperature)];
    const options = {
      bankData,
      queryData,
      imageSize: SIZE,
      maxPixels: DEFAULT_MAX_PIXELS,
      ks: [k, 4],
      temperature,
      evalResize: "none" as const,
      plugins: [TINY_ENCODER],
    };
    assertEquals(await runKnnEvaluation({ path, arch: "tiny_convnet", which: "student" }, options), expected);

    const { knn } = await runDistillation(folder.options("run", {
      ...{ distill: path, teacherArch: "tiny_convnet", dim: 20, testData: queryData },
      ...{ teacherSize: SIZE, imageSize: STUDENT_SIZE },
      ...{ knnK: k, knnT: temperature, evalResize: "none", limitSteps: 1 },
    }));
    assertEquals(knn!.teacher, expected[0]);
  }));

Deno.test("kNN of a run takes a sample of the images where there are more than it is to take", async () => {
  using folder = new RunFolder(60, 40);
  const [bankData, queryData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const path = join(folder.path, "encoder.pth.tar");
  await drawTeacher(path, "tiny_convnet", { kind: "mlp", dimension: 20 }, 7);
  const [knnImages, seed] = [30, 3];
  const notes: string[] = [];
  const { knn } = await runDistillation(
    folder.options("run", {
      ...{ distill: path, teacherArch: "tiny_convnet", dim: 20, imageSize: SIZE, testData: queryData },
      ...{ knnK: 5, evalResize: "none", limitSteps: 1, knnImages, seed },
    }),
    (event) => event.type === "note" && notes.push(event.text),
  );
  assert(
    notes.includes(
      "kNN by a sample: 30 of 60 images vote, 30 of 40 images are classified, chosen by --seed 3; --knn-images takes more",
    ),
    notes.join("\n"),
  );
  const [expected] = await runKnnEvaluation({ path, arch: "tiny_convnet", which: "student" }, {
    ...{ bankData, queryData, imageSize: SIZE, maxPixels: DEFAULT_MAX_PIXELS, ks: [5], temperature: 0.07 },
    ...{ evalResize: "none", plugins: [TINY_ENCODER] },
    bankRows: sampleRows(60, knnImages, seed),
    queryRows: sampleRows(40, knnImages, seed),
  });
  assertEquals(knn!.teacher, expected);
});

Deno.test("kNN refuses images of which there are more or less than when it began", async () => {
  for (const name of ["train.tsv", "test.tsv"] as const) {
    using folder = new RunFolder(12, 6);
    const run = knn({ pretrained: TINY_TEACHER, plugins: [TINY_ENCODER], imageSize: 32, data: folder.data });
    const changed = (async () => {
      for await (const { type } of run) {
        if (type !== "plan") continue;
        Deno.writeTextFileSync(join(folder.data, name), firstRows(name, 20));
        Deno.removeSync(join(folder.data, name.replace(".tsv", ".lineidx")));
      }
    })().catch(() => {}); // the result rejects too
    await assertRejects(() => run.result, Error, "has 20 rows now, and had ");
    await changed;
  }
});

Deno.test("kNN warns where the images that vote are those that are classified, or copies, and where they are of one class", async () => {
  using folder = new RunFolder(80, 12);
  const [train, test] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const link = join(folder.path, "link.tsv");
  Deno.symlinkSync(train, link);
  const warning = `${link}: kNN classifies the images that vote, and each is its own nearest neighbour`;
  const evaluate = async (testData: string, data = train) => {
    const warnings: string[] = [];
    const views = { arch: "tiny_convnet", imageSize: 16, knnK: [1], plugins: [TINY_ENCODER] };
    for await (const event of knn({ ...views, data, testData })) {
      if (event.type === "warning") warnings.push(event.text);
    }
    return warnings;
  };
  const [found, ...others] = await evaluate(link);
  assert(found.startsWith(warning) && others.length === 0, found);
  assertEquals([await evaluate(test), await evaluate(HELD_OUT)], [[], []]);
  const copy = join(folder.path, "copy.tsv");
  Deno.copyFileSync(train, copy);
  assertEquals(await evaluate(copy), [found.replace(link, copy)]);
  const [ones, tests] = [train, test].map(withOneClass);
  assertEquals(await evaluate(tests, ones), [
    `${ones}: all images are of class 1, and so is every prediction: the accuracy says nothing. ` +
    "Use images of two classes or more",
  ]);

  const warnings: string[] = [];
  await runDistillation(
    folder.options("run", { testData: link, limitSteps: 1 }),
    hear<EncoderTrainingEvent>({ warning: ({ text }) => warnings.push(text) }),
  );
  assertEquals(warnings, [found]);
});

Deno.test("kNN notes where fewer images vote than it is to ask, alone and in a training", async () => {
  using folder = new RunFolder(12, 6);
  const train = join(folder.data, "train.tsv");
  let row = 0;
  // Of twelve images, two have no label.
  const text = Deno.readTextFileSync(train).replace(
    /\t\d+\t/g,
    () => `\t${row < 2 ? row++ - 2 : row++ % 10}\t`,
  );
  Deno.writeTextFileSync(train, text);
  const notesOf = async (knnK?: number[]) => {
    const notes: string[] = [];
    const views = { arch: "tiny_convnet", imageSize: 16, plugins: [TINY_ENCODER] };
    for await (const event of knn({ ...views, data: folder.data, ...knnK && { knnK } })) {
      if (event.type === "note") notes.push(event.text);
    }
    return notes.filter((text) => text.startsWith("k = "));
  };
  assertEquals(await notesOf(), ["k = 20, 200: only 10 images vote"]);
  assertEquals([await notesOf([11, 10]), await notesOf([10])], [["k = 11: only 10 images vote"], []]);

  const ofTraining = async (knnK: number, knnImages: number) => {
    const notes: string[] = [];
    const testData = join(folder.data, "test.tsv");
    const options = { testData, knnK, knnImages, limitSteps: 1 };
    await runDistillation(
      folder.options(crypto.randomUUID(), options),
      hear<EncoderTrainingEvent>({ note: ({ text }) => notes.push(text) }),
    );
    return notes.filter((text) => text.startsWith("k = "));
  };
  assertEquals(await ofTraining(20, 12), ["k = 20: only 12 images vote"]);
  assertEquals(await ofTraining(12, 8), ["k = 12: only 8 images vote"]);
  assertEquals(await ofTraining(12, 12), []);
});

Deno.test("of held-out labels a sample votes and is classified", () => {
  const train = { path: "train.tsv", rowCount: 50, hasLabels: true, classNames: undefined };
  const heldOut = {
    bankRows: Uint32Array.from({ length: 40 }, (_, i) => i),
    queryRows: Uint32Array.from({ length: 10 }, (_, i) => 40 + i),
  };
  const test = { ...train, heldOut };
  assertEquals(sampleVote(train, test, { knnImages: 40, seed: 1 }), {});
  const sampled = sampleVote(train, test, { knnImages: 5, seed: 1 });
  assertEquals(sampled.bankRows, sampleRows(40, 5, 1));
  assertEquals(sampled.queryRows, sampleRows(10, 5, 1).map((place) => 40 + place));
  assertEquals(countVote(train, { ...test, sampled }), { bank: 5, queries: 5 });
});
