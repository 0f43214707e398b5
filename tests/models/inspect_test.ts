import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { SAMPLE_TEACHER } from "../../data/sample.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { buildInput, INPUT_KEY } from "../../models/checkpoint/saved_input.ts";
import {
  OrderedDict,
  PyFloat,
  TensorValue,
  torchDict,
  type TorchValue,
} from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { ENCODERS, findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { IS_LONG } from "../long.ts";
import { referencePath } from "../reference.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import { withShapes, writeShapes } from "./shape_checkpoint.ts";

Deno.test("inspectCheckpoint() recognises every encoder of the registry by its names and shapes", async () => {
  await withFolder(async (folder) => {
    // The widest are some 400 MB even with one byte a number; their shapes are told apart like the others'. So are those that
    // are in every run of the tests: of deep and wide ones, one of each kind.
    const isLeftOut = ({ name }: { name: string }) =>
      /w[45]$/.test(name) || (!IS_LONG && /resnet(101|152)|moco_.*w2|efficientnet_b[2-7]/.test(name));
    for (const encoder of ENCODERS.filter((encoder) => !isLeftOut(encoder))) {
      const path = `${folder}/${encoder.name}.pth`;
      await writeShapes(path, encoder.name);
      const { container, encoders, tensors, values } = await inspectCheckpoint(path);
      const { parameters, state } = summarize(encoder, usualHead(encoder), 64);
      assertEquals([container, encoders.length], ["zip", 1]);
      const [found] = encoders;
      assertEquals([found.name, found.recognized[0], found.part], ["", encoder.name, "encoder"]);
      assertEquals([found.head?.kind, found.parameters], [encoder.head, parameters]);
      assertEquals([found.tensors, tensors.length, values], [state.length, state.length, []]);
      await Deno.remove(path);
    }
  });
});

Deno.test("inspectCheckpoint() names both encoders of a checkpoint that distil wrote, and what is beside them", async () => {
  const teacher = summarize(ENCODERS.find(({ name }) => name === "resnet34")!, {
    kind: "mlp",
    dimension: 128,
  }, 64);
  await withShapes("resnet18", {
    prefix: "module.student.",
    more: {
      ...Object.fromEntries(teacher.state.map(({ key, shape }) => [`module.teacher.${key}`, shape])),
      "module.queue": [64, 128],
    },
    wrap: (dict) =>
      torchDict([["epoch", 7], ["arch", "resnet18"], ["state_dict", dict], ["lr", new PyFloat(0.03)]]),
  }, async (path) => {
    const { framework, prefix, arch, epoch, encoders, tensors, values } = await inspectCheckpoint(path);
    assertEquals([framework, prefix, arch, epoch], ["seed", "student.", "resnet18", 7]);
    assertEquals(encoders.map(({ name, recognized }) => [name, ...recognized]), [
      ["student", "resnet18"],
      ["teacher", "resnet34"],
    ]);
    assertEquals(tensors.at(-1), { name: "state_dict.module.queue", dtype: "float16", shape: [64, 128] });
    assertEquals(values.find(({ name }) => name === "lr"), { name: "lr", text: "0.03" });
    const { tensors: [queue, ...more], values: none } = await inspectCheckpoint(path, {
      isWanted: (name) => name.includes("queue"),
    });
    assertEquals([queue.name, more, none], ["state_dict.module.queue", [], []]);
  });
});

Deno.test("inspectCheckpoint() tells the feature that a file says, and its length", async () => {
  const wrap = (dict: TorchValue) =>
    torchDict([["state_dict", dict], [INPUT_KEY, buildInput({ feature: "cls+mean" })]]);
  await withShapes("dino_vits16", { wrap }, async (path) => {
    const { encoders: [{ recognized: [name], embedding }] } = await inspectCheckpoint(path);
    assertEquals([findEncoder(name).features, embedding], [768, 768]);
  });
});

Deno.test("inspectCheckpoint() says how the nearest encoder differs where none fits, and that a head is missing", async () => {
  await withShapes("resnet50", { without: /^layer3\.0\.conv1/ }, async (path) => {
    const { encoders: [encoder] } = await inspectCheckpoint(path);
    assertEquals(encoder.recognized, []);
    assertEquals(encoder.nearest, {
      encoder: "resnet50",
      problems: "1 key is missing (layer3.0.conv1.weight)",
    });
  });
  await withShapes("efficientnet_b0", { without: /^fc\./ }, async (path) => {
    const { encoders: [encoder] } = await inspectCheckpoint(path);
    assertEquals([encoder.recognized, encoder.part, encoder.head], [
      ["efficientnet_b0"],
      "backbone",
      undefined,
    ]);
  });
});

Deno.test("inspectCheckpoint() measures tensors, and counts what is not finite", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.pth`;
    const data = Float32Array.of(1, 2, NaN, 3, Infinity, -2);
    await writeTorchFile(
      path,
      torchDict([
        ["weights", new OrderedDict([["a", new TensorValue("float32", [2, 3], data)]])],
        ["none", new TensorValue("float32", [0], new Float32Array())],
        ["names", ["x", "\u001b[31m"]],
      ]),
    );
    const { tensors, values, noEncoder, encoders } = await inspectCheckpoint(path, { statistics: true });
    const deviation = Math.sqrt((0 + 1 + 4 + 9) / 4);
    assertEquals(tensors[0].statistics, { mean: 1, deviation, min: -2, max: 3, notFinite: 2 });
    assertEquals(tensors[1].statistics?.mean, NaN);
    assertEquals(values, [{ name: "names", text: '["x", "\\u001b[31m"]' }]);
    assertEquals([encoders.length, noEncoder], [1, undefined]);
  });
});

Deno.test("inspectCheckpoint() opens what holds no encoder, and refuses what is no checkpoint", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.pth`;
    await writeTorchFile(path, torchDict([["epoch", 3], ["loss", [1, 2.5]]]));
    const { encoders, noEncoder, values } = await inspectCheckpoint(path);
    assertEquals([encoders, values.length], [[], 2]);
    assert(noEncoder!.startsWith("holds no encoder"), noEncoder);
    // A name that is a wrapper's alone.
    const odd = new OrderedDict([[
      "module.module.",
      new TensorValue("float32", [1, 1], new Float32Array(1)),
    ]]);
    await writeTorchFile(path, odd);
    assertEquals((await inspectCheckpoint(path)).encoders[0].recognized, []);
  });
  const bad = referencePath("checkpoints/bad_text.pth.tar");
  const { message } = await assertRejects(() => inspectCheckpoint(bad), CheckpointError);
  assertStringIncludes(message, bad);
});

Deno.test("parity: inspectCheckpoint() names the container of every file of the reference", async () => {
  for (const container of ["zip", "legacy"]) {
    for (const framework of ["moco", "simclr", "swav", "torchvision"]) {
      const path = referencePath(`checkpoints/${framework}.${container}.pth.tar`);
      const found = await inspectCheckpoint(path, { statistics: true });
      assertEquals([found.container, found.framework, found.bytes], [
        container,
        framework,
        Deno.statSync(path).size,
      ]);
      assert(found.tensors.every(({ statistics }) => statistics!.notFinite === 0));
    }
  }
  const { arch, epoch, encoders } = await inspectCheckpoint(SAMPLE_TEACHER);
  assertEquals([arch, typeof epoch, encoders[0].recognized], ["resnet18", "number", ["resnet18"]]);
});
