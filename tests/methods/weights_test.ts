import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { distill, embed, knn, linearProbe } from "../../methods/runs.ts";
import { loadStateDict } from "../../models/checkpoint/state_dict.ts";
import { OrderedDict, TensorValue, torchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { findEncoder, summarize } from "../../models/registry.ts";
import { drawTeacher } from "../actors/drawn_teacher.ts";
import { RunFolder, TINY_ENCODER } from "../actors/small_run.ts";
import { IS_LONG } from "../long.ts";

const HEAD = { kind: "mlp", dimension: 128 } as const;
const PLUGINS = { plugins: [TINY_ENCODER], imageSize: 16 };

Deno.test("--weights chooses among the encoders of a checkpoint, in every task", {
  ignore: !IS_LONG, // that it reaches every task is in every run of the tests
}, async () => {
  using folder = new RunFolder(12, 6);
  const [train, test] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const path = (name: string) => join(folder.path, name);
  // As BYOL's programs save them, and each alone.
  const { state } = summarize(findEncoder("tiny_convnet"), HEAD, 32);
  const shapes = new Map(state.map(({ key, shape }) => [key, shape]));
  const both: [string, TensorValue][] = [];
  for (const [name, seed] of [["online", 5], ["target", 1]] as const) {
    const { values } = await drawTeacher(path(`${name}.pth`), "tiny_convnet", HEAD, seed);
    for (const [key, data] of values) {
      both.push([`${name}_backbone.${key}`, new TensorValue("float32", [...shapes.get(key)!], data)]);
    }
  }
  const pair = path("both.ckpt");
  await writeTorchFile(pair, torchDict([["epoch", 1], ["state_dict", new OrderedDict(both)]]));
  const [online, target] = [path("online.pth"), path("target.pth")];
  const chosen = [[undefined, target], ["online_backbone", online], ["target_backbone.", target]] as const;

  const embedded = async (pretrained: string, weights?: string) => {
    const rows: number[] = [];
    const notes: string[] = [];
    for await (const event of embed({ pretrained, weights, data: train, part: "encoder", ...PLUGINS })) {
      if (event.type === "rows") rows.push(...event.embeddings);
      if (event.type === "note") notes.push(event.text);
    }
    return { rows, notes };
  };
  const { notes } = await embedded(pair);
  assertStringIncludes(
    notes[0],
    "the encoder is under target_backbone.*; ignored online_backbone., which --weights can select",
  );
  for (const [weights, alone] of chosen) {
    assertEquals((await embedded(pair, weights)).rows, (await embedded(alone)).rows, weights);
  }
  assertNotEquals((await embedded(online)).rows, (await embedded(target)).rows);

  const digest = async (checkpoint: string, key: string) => {
    using found = await loadStateDict(checkpoint);
    return [...await found.tensors.get(key)!.read()];
  };
  const first = "layer1.conv.weight";
  for (const [weights, alone] of chosen) {
    const output = path(`exported_${weights}.pth`);
    const how = { format: "pth", part: "encoder", names: "plain", normalize: false, force: true } as const;
    await exportEncoder({ ...how, checkpoint: pair, weights, output });
    assertEquals(await digest(output, first), await digest(alone, first));

    const accuracies = async (from: string, prefix?: string) =>
      await knn({
        ...{ pretrained: from, arch: "tiny_convnet", weights: prefix },
        ...{ data: train, testData: test, knnK: [3], ...PLUGINS },
      }).result;
    assertEquals(await accuracies(pair, weights), await accuracies(alone));
  }

  const { checkpoint } = await linearProbe({
    ...{ pretrained: pair, weights: "online_backbone", data: train, testData: test, ...PLUGINS },
    ...{ output: folder.makeOutput("linear"), epochs: 1, batchSize: 4, workers: 1, cacheFeatures: true },
  }).result;
  assertEquals(await digest(checkpoint!, first), await digest(online, first));

  const lossOf = async (name: string, teacher: string, weights?: string) => {
    const run = folder.options(name, { distill: teacher, weights, imageSize: 16, limitSteps: 1 });
    return (await distill(run).result).firstLoss;
  };
  const expected = await lossOf("alone", online);
  assertEquals(await lossOf("chosen", pair, "online_backbone"), expected);
  assertNotEquals(await lossOf("default", pair), expected);
});

Deno.test("knn says which heads of a checkpoint it does not use", async () => {
  using folder = new RunFolder(12, 6);
  const { state } = summarize(findEncoder("tiny_convnet"), HEAD, 32);
  const { values } = await drawTeacher(join(folder.path, "drawn.pth"), "tiny_convnet", HEAD, 5);
  const shapes = new Map(state.map(({ key, shape }) => [key, shape]));
  const backbone = [...values].filter(([key]) => !key.startsWith("fc.")).map(([key, data]) =>
    [key, new TensorValue("float32", [...shapes.get(key)!], data)] as [string, TensorValue]
  );
  const projector = new TensorValue("float32", [8, 8], new Float32Array(64));
  const pretrained = join(folder.path, "projector.pth");
  const entries: [string, TensorValue][] = [...backbone, ["projector.0.weight", projector]];
  await writeTorchFile(pretrained, new OrderedDict(entries));
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const notes: string[] = [];
  const run = knn({ ...{ pretrained, arch: "tiny_convnet", data, testData, knnK: [3] }, ...PLUGINS });
  for await (const event of run) if (event.type === "note") notes.push(event.text);
  assertEquals(notes[0], `${pretrained}: ignored heads of unknown kinds: projector`);
});
