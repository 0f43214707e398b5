// What a checkpoint says of its encoder's images is what every task gives the encoder, until something else is asked for.
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import type { EmbedInput } from "../../methods/runs.ts";
import { distill, embed, knn, linearProbe } from "../../methods/runs.ts";
import { chooseViews } from "../../methods/encoder_views.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import { loadStateDict } from "../../models/checkpoint/state_dict.ts";
import { readInput } from "../../models/checkpoint/saved_input.ts";
import { OrderedDict, TensorValue, torchDict, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { stemOf } from "../../models/encoder_input.ts";
import { EXPORT_FORMATS, exportEncoder } from "../../models/export/export_encoder.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { initialize } from "../../models/initialize.ts";
import { findEncoder, summarize } from "../../models/registry.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** What files of a `tiny_convnet` say whose views are 16 pixels wide and not cut. */
const TINY: object = {
  ...{ arch: "tiny_convnet", imageSize: 16, cropRatio: 1, interpolation: "bilinear" },
  ...IMAGENET,
  stem: "conv 3x3/2",
};
const PLUGINS = { plugins: [TINY_ENCODER] };

/** What an embedding gives and says. */
async function embedAll(input: EmbedInput) {
  await using run = embed({ ...PLUGINS, ...input });
  const rows: number[] = [];
  const notes: string[] = [];
  let views: [number, string] | undefined;
  for await (const event of run) {
    if (event.type === "rows") rows.push(...event.embeddings);
    if (event.type === "note") notes.push(event.text);
    if (event.type === "plan") views = [event.imageSize, event.evalResize];
  }
  return { rows, notes, views };
}

/** A checkpoint of a `tiny_convnet`, and an entry beside its weights. */
async function writeTiny(
  path: string,
  more: readonly (readonly [string, TorchValue])[] = [],
): Promise<string> {
  const { state } = summarize(findEncoder("tiny_convnet"), { kind: "mlp", dimension: 8 }, 32);
  const values = initialize(state, 3);
  const tensors = state.filter(({ key }) => values.has(key)).map(({ key, shape }) =>
    [`module.encoder_q.${key}`, new TensorValue("float32", shape, values.get(key)!)] as const
  );
  await writeTorchFile(path, torchDict([["epoch", 1], ["state_dict", new OrderedDict(tensors)], ...more]));
  return path;
}

Deno.test("a student of 16 pixels is embedded, evaluated and exported at 16 where nothing is said", async () => {
  using folder = new RunFolder(12, 6);
  const { checkpoint } = await distill(folder.options("run", { imageSize: 16, evalResize: "none" })).result;
  {
    using state = await loadStateDict(checkpoint);
    assertEquals<unknown>(state.input, TINY);
    assertEquals(state.teacherInput, state.input);
  }
  const data = join(folder.data, "train.tsv");
  const said = await embedAll({ pretrained: checkpoint, data });
  assertEquals(said.views, [16, "none"]);
  assertEquals(said.notes.length, 1);
  assertStringIncludes(
    said.notes[0],
    `${checkpoint} says: images of 16 x 16 pixels, crop ratio 1, ImageNet's`,
  );
  const asked = await embedAll({ pretrained: checkpoint, data, imageSize: 16, evalResize: "none" });
  assertEquals(said.rows, asked.rows);
  const other = await embedAll({ pretrained: checkpoint, data, imageSize: 24 });
  assertEquals(other.views, [24, "none"]);
  assertStringIncludes(other.notes[0], "; using 24 x 24 pixels instead, as requested");
  assertNotEquals(said.rows, other.rows);
  const undecided = await embedAll({ pretrained: checkpoint, data, evalResize: "auto" });
  assertMatch(undecided.notes[0], /; the crop ratio is chosen by the images instead$/);
  assertEquals((await embedAll({ pretrained: checkpoint, data, which: "teacher" })).views, [16, "none"]);

  // Exports say it too, whatever the names of their tensors are; an ONNX model takes such images.
  for (const format of EXPORT_FORMATS) {
    for (const names of format === "onnx" ? [undefined] : ["plain", "seed"] as const) {
      const output = join(folder.path, `${names}.${format}`);
      const options = { format, names, part: "backbone", normalize: false, force: false } as const;
      const { input } = await exportEncoder({ ...options, checkpoint, output });
      assertEquals<unknown>(input, TINY);
      if (format === "onnx") continue;
      const again = await embedAll({ pretrained: output, data });
      assertEquals([again.rows, again.views], [said.rows, [16, "none"]], `${names} ${format}`);
      if (names === "plain" && format === "pth") {
        using source = await openEncoderSource(output, { part: "backbone" });
        assertEquals([...source.tensors.keys()], source.state.map(({ key }) => key)); // and no other keys
      }
    }
  }

  await using evaluation = knn({
    ...{ pretrained: checkpoint, arch: "tiny_convnet", knnK: [1], ...PLUGINS },
    ...{ data, testData: join(folder.data, "test.tsv") },
  });
  for await (const event of evaluation) if (event.type === "plan") assertEquals(event.imageSize, 16);
  await evaluation.result;

  const linear = await linearProbe({
    ...{ pretrained: checkpoint, data, testData: join(folder.data, "test.tsv"), ...PLUGINS },
    ...{ output: folder.makeOutput("linear"), epochs: 1, batchSize: 4, workers: 1, cacheFeatures: true },
  }).result;
  using probe = await loadStateDict(linear.checkpoint!);
  assertEquals<unknown>(probe.input, TINY);

  // As a teacher it gives its students its views.
  const { imageSize: _, evalResize: __, ...rest } = folder.options("second", { distill: checkpoint });
  const second = await distill(rest).result;
  using state = await loadStateDict(second.checkpoint);
  assertEquals([state.input?.imageSize, state.input?.cropRatio], [16, 1]);
});

Deno.test("an export of a checkpoint that says no crop is embedded as the checkpoint is", async () => {
  using folder = new RunFolder(8);
  const data = join(folder.data, "train.tsv");
  const checkpoint = await embedAll({ pretrained: TINY_TEACHER, data, imageSize: 32 });
  assertEquals(checkpoint.views, [32, "none"]);
  for (const format of ["pth", "safetensors"] as const) {
    const output = join(folder.path, `export.${format}`);
    const options = { format, imageSize: 32, part: "backbone", normalize: false, force: false } as const;
    await exportEncoder({ ...options, checkpoint: TINY_TEACHER, output });
    const { rows, views } = await embedAll({ pretrained: output, data });
    assertEquals([views, rows], [checkpoint.views, checkpoint.rows], format);
  }
});

Deno.test("a checkpoint of before its own word gives the images of its run, and says so", async () => {
  using folder = new RunFolder(4);
  const path = join(folder.path, "old.pth.tar");
  const terms = (more: [string, TorchValue][]) =>
    [["seed_resume", torchDict([["terms", torchDict([["temp", 0.2], ...more])]])]] as [string, TorchValue][];
  const size: [string, TorchValue] = ["image_size", 16];
  await writeTiny(path, terms([size]));
  const data = join(folder.data, "train.tsv");
  const { views, notes } = await embedAll({ pretrained: path, data });
  assertEquals(views, [16, "torchvision"]);
  assertEquals(notes, [
    `${path} says of its run, since it was written before checkpoints carried their own: images of 16 x 16 pixels`,
  ]);
  const { input, teacherInput, inputIsOfRun } = await inspectCheckpoint(path);
  assertEquals<unknown[]>([input?.imageSize, teacherInput?.imageSize, inputIsOfRun], [16, 16, true]);
  // A linear evaluation's says how they were cut too; its own word comes first.
  await writeTiny(path, terms([size, ["eval_resize", "none"]]));
  assertEquals((await embedAll({ pretrained: path, data })).views, [16, "none"]);
  await writeTiny(path, [...terms([size]), ["seed_input", torchDict([["image_size", 24]])]]);
  const own = await embedAll({ pretrained: path, data });
  assertEquals([own.views, own.notes], [[24, "torchvision"], [`${path} says: images of 24 x 24 pixels`]]);
  await writeTiny(path, terms([["image_size", "wide"]]));
  await assertRejects(
    () => embedAll({ pretrained: path, data }),
    CheckpointError,
    'its seed_resume["image_size"]',
  );
});

Deno.test("where a checkpoint says nothing, its authors' size is taken, and that of the bundled images for these", async () => {
  using folder = new RunFolder(4);
  using source = await openEncoderSource(TINY_TEACHER, { part: "backbone" });
  const { note, ...views } = chooseViews(source, {}, folder.data);
  assertEquals(views, { imageSize: 224, evalResize: "auto" });
  assertEquals(
    note,
    `${TINY_TEACHER} has no image size (its program saves none): using 224 x 224 pixels, the size that MoCo was ` +
      "trained with; --image-size sets another",
  );
  for (const data of [SAMPLE_DATA, join(SAMPLE_DATA, "train.tsv")]) {
    const chosen = chooseViews(source, {}, data);
    assertEquals([chosen.imageSize, chosen.evalResize], [32, "auto"]);
    assertStringIncludes(chosen.note!, "using 32 x 32 pixels, the size of the bundled images");
    assertEquals(chooseViews(null, {}, data), { imageSize: 32, evalResize: "auto", note: undefined });
  }
  assertEquals(chooseViews(source, { imageSize: 48 }, folder.data).note, undefined);
  // As for fresh weights, a baseline of a student of another size.
  const fresh = chooseViews(null, {}, folder.data);
  assertEquals([fresh.imageSize, fresh.evalResize], [224, "auto"]);
  assertEquals(
    fresh.note,
    "fresh weights have no image size: using 224 x 224 pixels; --image-size sets another",
  );
  assertEquals(chooseViews(null, { imageSize: 32 }, folder.data).note, undefined);
  const old = { ...source, isOurs: true };
  assertStringIncludes(
    chooseViews(old, {}, folder.data).note!,
    "(it was written by an earlier version)",
  );
  // Of the one beside the sample it is known.
  using bundled = await openEncoderSource(SAMPLE_TEACHER, { part: "backbone" });
  const chosen = chooseViews(bundled, {}, folder.data);
  assertEquals([chosen.imageSize, chosen.evalResize], [32, "none"]);
  assertEquals(bundled.input?.stem, stemOf(findEncoder("resnet18")));
});

Deno.test("an encoder's pixels are normalised as its checkpoint says", async () => {
  using folder = new RunFolder(4);
  const data = join(folder.data, "train.tsv");
  const write = (name: string, entries: [string, TorchValue][]) =>
    writeTiny(join(folder.path, name), [["seed_input", torchDict([["image_size", 32], ...entries])]]);
  const usual = await embedAll({ pretrained: await write("a.pth", []), data });
  const same = await embedAll({
    pretrained: await write("b.pth", [["mean", IMAGENET.mean], ["std", IMAGENET.std]]),
    data,
  });
  assertEquals(usual.rows, same.rows);
  const other = await embedAll({
    pretrained: await write("c.pth", [["mean", [0.5, 0.5, 0.5]], ["std", [0.25, 0.25, 0.25]]]),
    data,
  });
  assertNotEquals(other.rows, usual.rows);
  assertStringIncludes(other.notes[0], "mean 0.5 0.5 0.5, std 0.25 0.25 0.25");
});

Deno.test("an entry that cannot be used is refused, by name, as is a stem of another encoder", async () => {
  using folder = new RunFolder(1);
  const fail = (problem: string) => new CheckpointError("f.pth", problem);
  for (
    const [value, expected] of [
      [3, "seed_input cannot be used: expected a dict, found 3"],
      [
        torchDict([["image_size", 7]]),
        'seed_input["image_size"] cannot be used: expected a whole number from 8 to 4096',
      ],
      [torchDict([["image_size", "32"]]), 'found "32"'],
      [torchDict([["crop_ratio", 0.9]]), "expected 0.875 or 1, found 0.9"],
      [torchDict([["interpolation", "lanczos"]]), 'expected bilinear or bicubic, found "lanczos"'],
      [torchDict([["mean", [1, 2]]]), "expected three finite numbers, found [ 1, 2 ]"],
      [torchDict([["std", [1, 0, 1]]]), "expected three finite numbers above 0"],
      [torchDict([["stem", 7]]), "expected a string, found 7"],
    ] as [TorchValue, string][]
  ) {
    let message = "";
    try {
      readInput("seed_input", value, fail);
    } catch (error) {
      message = (error as Error).message;
    }
    assertStringIncludes(message, expected);
  }
  const path = await writeTiny(join(folder.path, "s.pth"), [[
    "seed_input",
    torchDict([["stem", "conv 7x7/2"]]),
  ]]);
  const { message } = await assertRejects(
    () => openEncoderSource(path, { part: "backbone" }),
    CheckpointError,
  );
  assertStringIncludes(message, 'begins with "conv 7x7/2", but tiny_convnet begins with conv 3x3/2');
  assert(!message.includes("\n"));
});
