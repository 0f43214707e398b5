import { assert, assertEquals, assertRejects } from "@std/assert";
import { buildTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { basename } from "node:path";
import { UserError } from "../../../errors.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import type { NamedTensor } from "../../../models/checkpoint/named_tensor.ts";
import { writeSafetensors } from "../../../models/checkpoint/safetensors.ts";
import { buildInput } from "../../../models/checkpoint/saved_input.ts";
import { TensorValue, torchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import type { EncoderRole } from "../../../models/encoder.ts";
import { inputOf } from "../../../models/encoder_input.ts";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { EXPORT_FORMATS, exportEncoder, type ExportOptions } from "../../../models/export/export_encoder.ts";
import { inspectCheckpoint } from "../../../models/inspect.ts";
import { findEncoder } from "../../../models/registry.ts";
import { globalAveragePool, projectionHead, registerEncoder } from "../../../parts.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { writeShapes } from "../shape_checkpoint.ts";
import { assertSameTensors, formulaTensors, isHead, named, writeMoco } from "./fixtures.ts";

/** An encoder of few numbers. */
const SMALL = "mobilenetv3_small";

const DEFAULTS = { format: "pth", part: "backbone", imageSize: 64, normalize: false, force: false } as const;

for (const format of EXPORT_FORMATS.filter((format) => format !== "onnx")) {
  Deno.test(`exportEncoder() copies a backbone into a ${format} file without a change`, async () => {
    await withFolder(async (folder) => {
      const tensors = formulaTensors("resnet18");
      const checkpoint = await writeMoco(`${folder}/moco.pth.tar`, tensors);
      const seen: number[][] = [];
      const result = await exportEncoder(
        { ...DEFAULTS, format, checkpoint },
        (done, total) => void seen.push([done, total]),
      );
      const path = `${folder}/moco_resnet18_backbone.${format}`;
      assertEquals(result, {
        files: [path],
        bytes: Deno.statSync(path).size,
        encoder: "resnet18",
        framework: "moco",
        dimension: undefined,
        tensors: 120,
        parameters: 11_176_512, // torchvision's resnet18 without fc
        head: undefined,
        leftOut: [],
        input: {
          arch: "resnet18",
          imageSize: 64,
          cropRatio: 224 / 256,
          interpolation: "bilinear",
          mean: [0.485, 0.456, 0.406],
          std: [0.229, 0.224, 0.225],
          stem: "conv 7x7/2, max pool 3x3/2",
        },
        inputNote: undefined,
        names: "plain",
      });
      assertEquals(seen.at(-1), [120, 120]);
      const start = Deno.readFileSync(path).subarray(0, 2);
      assertEquals(new TextDecoder().decode(start) === "PK", format === "pth");
      await assertSameTensors(path, tensors.filter((tensor) => !isHead(tensor)));
    });
  });

  Deno.test(`exportEncoder() writes an encoder into a ${format} file that can be exported again`, async () => {
    await withFolder(async (folder) => {
      const tensors = formulaTensors(SMALL);
      const checkpoint = await writeMoco(`${folder}/a.pth.tar`, tensors, SMALL);
      for (
        const [names, framework] of [["moco", "moco"], ["seed", "seed"], ["plain", "torchvision"]] as const
      ) {
        const output = `${folder}/${names}.${format}`;
        const options: ExportOptions = { ...DEFAULTS, format, part: "encoder", checkpoint, output, names };
        const { dimension, tensors: count } = await exportEncoder(options);
        assertEquals([dimension, count], [128, 246]);
        await assertSameTensors(output, tensors);
        {
          using state = await loadStateDict(output);
          assertEquals(state.framework, framework);
          if (names !== "plain") assertEquals([state.arch, state.epoch], [SMALL, 200]);
        }
        const again = `${folder}/${names}_again.${format}`;
        await exportEncoder({ ...options, checkpoint: output, output: again });
        await assertSameTensors(again, tensors);
      }
    });
  });
}

Deno.test("exportEncoder() records torchvision's crop where images have no choice, and below 64 pixels none", async () => {
  await withFolder(async (folder) => {
    const checkpoint = await writeMoco(`${folder}/a.pth.tar`, formulaTensors(SMALL), SMALL);
    for (const format of EXPORT_FORMATS) {
      const ratioOf = async (changes: Partial<ExportOptions>) =>
        (await exportEncoder({ ...DEFAULTS, format, checkpoint, force: true, ...changes })).input.cropRatio;
      assertEquals(await ratioOf({ imageSize: 64 }), 224 / 256);
      assertEquals(await ratioOf({ imageSize: 63 }), undefined);
      assertEquals(await ratioOf({ imageSize: 32, cropRatio: 224 / 256 }), 224 / 256);
    }
  });
});

Deno.test("exportEncoder() keeps half precision, and gives counters that are missing", async () => {
  await withFolder(async (folder) => {
    const tensors = formulaTensors(SMALL).map((tensor): NamedTensor =>
      tensor.dtype === "int64" ? tensor : {
        ...tensor,
        dtype: "float16",
        data: Uint16Array.from(tensor.data as Float32Array, (_, i) => i % 31744),
      }
    );
    const isCounter = ({ key }: NamedTensor) => key.endsWith("num_batches_tracked");
    const checkpoint = await writeMoco(`${folder}/a.pth`, tensors.filter((tensor) => !isCounter(tensor)));
    const output = `${folder}/b.pth`;
    await exportEncoder({ ...DEFAULTS, checkpoint, output });
    const zeroed = tensors.map((tensor) =>
      isCounter(tensor) ? { ...tensor, data: BigInt64Array.of(0n) } : tensor
    );
    await assertSameTensors(output, zeroed.filter((tensor) => !isHead(tensor)));
  });
});

Deno.test("exportEncoder() takes the student or the teacher out of a SEED checkpoint", async () => {
  await withFolder(async (folder) => {
    const checkpoint = `${folder}/checkpoint_0199.pth.tar`;
    const student = formulaTensors(SMALL, "student.");
    const teacher = formulaTensors("mobilenetv3_large", "teacher.");
    const saved = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
      epoch: 200,
      arch: SMALL,
      encoder: student,
      beside: teacher,
      sgd: { lr: 0.03, momentum: 0.9, weightDecay: 1e-4 },
      momentum: new Map(),
    });
    await writeTorchFile(checkpoint, saved);
    for (const which of [undefined, "student"] as const) {
      const { leftOut } = await exportEncoder({ ...DEFAULTS, checkpoint, which, force: true });
      assertEquals(leftOut, ["teacher"]);
      const path = `${folder}/checkpoint_0199_${SMALL}_backbone.pth`;
      await assertSameTensors(path, student.filter((tensor) => !isHead(tensor)));
    }
    const output = `${folder}/teacher.pth`;
    for (const names of ["moco", "plain"] as const) {
      const how = { which: "teacher", part: "encoder", names, force: true } as const;
      const { leftOut } = await exportEncoder({ ...DEFAULTS, ...how, checkpoint, output });
      assertEquals(leftOut, ["student"]);
      await assertSameTensors(output, teacher);
      using state = await loadStateDict(output);
      // The epochs are the student's; MoCo's programs want a number.
      assertEquals(state.epoch, names === "moco" ? 0 : undefined);
    }
    await assertRejects(
      () => exportEncoder({ ...DEFAULTS, checkpoint, which: "teacher", arch: "resnet50" }),
      UserError,
      "does not fit the encoder",
    );
    await assertRejects(
      () => exportEncoder({ ...DEFAULTS, checkpoint: output, which: "teacher" }),
      UserError,
      "has only one encoder",
    );
  });
});

Deno.test("exportEncoder() exports the backbone of a file without a head or with a classifier", async () => {
  await withFolder(async (folder) => {
    const backbone = formulaTensors("resnet18").filter((tensor) => !isHead(tensor));
    const classifier: NamedTensor[] = [
      { key: "fc.weight", shape: [1000, 512], data: new Float32Array(512_000) },
      { key: "fc.bias", shape: [1000], data: new Float32Array(1000) },
    ];
    for (
      const [name, tensors] of [["bare", backbone], ["classifier", [...backbone, ...classifier]]] as const
    ) {
      const checkpoint = `${folder}/${name}.pth`;
      await writeTorchFile(checkpoint, named(tensors));
      const output = `${folder}/${name}_out.pth`;
      await exportEncoder({ ...DEFAULTS, checkpoint, output });
      await assertSameTensors(output, backbone);
    }
    await assertRejects(
      () =>
        exportEncoder({ ...DEFAULTS, checkpoint: `${folder}/bare.pth`, arch: "resnet18", part: "encoder" }),
      UserError,
      "without a known projection head",
    );
    // ResNet-34 has every key of ResNet-18, and more: those are not a head.
    const deeper = `${folder}/deeper.pth`;
    await writeTorchFile(deeper, named(formulaTensors("resnet34")));
    await assertRejects(
      () => exportEncoder({ ...DEFAULTS, checkpoint: deeper, arch: "resnet18" }),
      UserError,
      "unexpected",
    );
  });
});

for (const arch of ["simclr_resnet50", "swav_resnet50"]) {
  Deno.test(`exportEncoder() recognises ${arch}, and leaves it its own names`, async () => {
    await withFolder(async (folder) => {
      const tensors = formulaTensors(arch).map((tensor) => ({
        ...tensor,
        key: tensor.key.replace(/^module\./, ""),
      }));
      const checkpoint = `${folder}/a.pth`;
      await writeTorchFile(checkpoint, named(tensors, "module."));
      const { encoder, names, dimension, files } = await exportEncoder({
        ...DEFAULTS,
        checkpoint,
        part: "encoder",
      });
      assertEquals([encoder, names, dimension], [arch, "plain", 128]);
      assertEquals(files, [`${folder}/a_${arch}_encoder.pth`]);
      await assertSameTensors(files[0], tensors);
      // As a copy of SimCLR's own, whose images stay in [0, 1].
      const unnormalized = { mean: [0, 0, 0], std: [1, 1, 1] } as const;
      const options = { ...DEFAULTS, checkpoint, part: "encoder", output: `${folder}/b.pth` } as const;
      await exportEncoder({ ...options, ...unnormalized });
      using source = await openEncoderSource(options.output, { part: "encoder" });
      assertEquals([source.encoder.name, source.input?.mean, source.input?.std], [arch, [0, 0, 0], [
        1,
        1,
        1,
      ]]);
      // As a teacher too, in the checkpoint of a distillation.
      const saved = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
        epoch: 1,
        arch: SMALL,
        encoder: formulaTensors(SMALL),
        beside: tensors,
        sgd: { lr: 0.03, momentum: 0.9, weightDecay: 1e-4 },
        momentum: new Map(),
      });
      const distilled = `${folder}/distilled.pth.tar`;
      await writeTorchFile(distilled, saved);
      const teacher = { ...DEFAULTS, checkpoint: distilled, part: "encoder", which: "teacher" } as const;
      const exported = await exportEncoder(teacher);
      assertEquals([exported.encoder, exported.names], [arch, "plain"]);
      await assertSameTensors(exported.files[0], tensors);
      assertEquals((await exportEncoder({ ...teacher, which: "student" })).names, "moco");
    });
  });
}

Deno.test("exportEncoder() says so where no encoder fits", async () => {
  await withFolder(async (folder) => {
    const tensors = formulaTensors("resnet18").filter(({ key }) => key !== "layer1.0.conv1.weight");
    const checkpoint = await writeMoco(`${folder}/a.pth.tar`, tensors, "resnet19");
    await assertRejects(
      () => exportEncoder({ ...DEFAULTS, checkpoint }),
      UserError,
      'holds no backbone of a known encoder (it says "resnet19"); the most similar is',
    );
    await assertRejects(
      () => exportEncoder({ ...DEFAULTS, checkpoint, arch: "resnet18" }),
      UserError,
      "1 key is missing (layer1.0.conv1.weight)",
    );
  });
});

Deno.test("exportEncoder() does not touch what is there, but by force, and never the checkpoint", async () => {
  await withFolder(async (folder) => {
    const checkpoint = await writeMoco(`${folder}/a.pth.tar`, formulaTensors(SMALL), SMALL);
    const before = Deno.readFileSync(checkpoint);
    for (const format of EXPORT_FORMATS) {
      const options: ExportOptions = { ...DEFAULTS, format, checkpoint, output: `${folder}/b.${format}` };
      Deno.writeTextFileSync(options.output!, "mine");
      await assertRejects(() => exportEncoder(options), UserError, "already exists");
      assertEquals(Deno.readTextFileSync(options.output!), "mine");
      await exportEncoder({ ...options, force: true });
      assert(Deno.statSync(options.output!).size > 3_000_000);
      await assertRejects(
        () => exportEncoder({ ...options, output: checkpoint, force: true }),
        UserError,
        "is the checkpoint itself",
      );
    }
    Deno.writeTextFileSync(`${folder}/c.onnx.data`, "mine");
    await assertRejects(
      () => exportEncoder({ ...DEFAULTS, format: "onnx", checkpoint, output: `${folder}/c.onnx` }),
      UserError,
      "c.onnx.data already exists",
    );
    assertEquals(Deno.readFileSync(checkpoint), before);
  });
});

Deno.test("exportEncoder() overwrites no file of a checkpoint of several, and names its own after all of them", async () => {
  await withFolder(async (folder) => {
    const tensors = formulaTensors(SMALL).map((tensor) =>
      [tensor.key, new TensorValue(tensor.dtype ?? "float32", tensor.shape, tensor.data)] as const
    );
    const shards = [1, 2].map((number) => `${folder}/model-0000${number}-of-00002.safetensors`);
    const names: Record<string, string> = {};
    for (const [i, shard] of shards.entries()) {
      const part = new Map(tensors.filter((_, t) => t % 2 === i));
      for (const key of part.keys()) names[key] = basename(shard);
      await writeSafetensors(shard, part);
    }
    const index = `${folder}/model.safetensors.index.json`;
    Deno.writeTextFileSync(index, JSON.stringify({ weight_map: names }));
    const before = shards.map((shard) => Deno.readFileSync(shard));
    const data = `${folder}/model.onnx.data`;
    Deno.symlinkSync(shards[1], data);
    for (const checkpoint of [index, shards[0]]) {
      const refuses = async (more: Partial<ExportOptions>, text: string) =>
        void await assertRejects(
          () => exportEncoder({ ...DEFAULTS, checkpoint, force: true, ...more }),
          UserError,
          text,
        );
      for (const shard of shards) {
        const what = shard === checkpoint ? "the checkpoint itself" : "a file of the checkpoint";
        await refuses({ output: shard }, `${shard} is ${what}; use another --output`);
      }
      // What a model has beside it is written, too.
      await refuses(
        { output: `${folder}/model.onnx`, format: "onnx" },
        `${data} is a file of the checkpoint`,
      );
      const { files } = await exportEncoder({ ...DEFAULTS, checkpoint, force: true });
      assertEquals(files, [`${folder}/model_${SMALL}_backbone.pth`]);
    }
    assertEquals(shards.map((shard) => Deno.readFileSync(shard)), before);
  });
});

Deno.test("of encoders with the same tensors an export names its own, and a distillation that of its teacher", async () => {
  for (const activation of ["relu", "swish"] as const) {
    registerEncoder({
      name: `twin_${activation}`,
      family: "tests",
      roles: ["student", "teacher"],
      ssl: "moco",
      head: "linear",
      features: 8,
      trace(b, images, head) {
        const stem = b.convolution("stem", { inputs: 3, outputs: 8, kernel: 5, stride: 4, padding: 2 });
        const x = b.convolveAndNormalize(images, stem, b.batchNorm("norm", 8), { activation });
        const feature = b.graph.apply(globalAveragePool, [x], {});
        return { feature, embedding: projectionHead(b, "fc", 8, head)(feature) };
      },
    });
  }
  const nameOf = async (path: string, choice: { which?: EncoderRole; weights?: string } = {}) => {
    using source = await openEncoderSource(path, { ...choice, part: "backbone" });
    return source.encoder.name;
  };
  await withFolder(async (folder) => {
    for (const arch of ["twin_relu", "twin_swish"]) {
      const checkpoint = `${folder}/plain.pth`;
      await writeShapes(checkpoint, arch);
      assertEquals(await nameOf(checkpoint), "twin_relu"); // the first, as nothing says which
      for (const format of ["pth", "safetensors"] as const) {
        for (const part of ["backbone", "encoder"] as const) {
          const output = `${folder}/${arch}_${part}.${format}`;
          await exportEncoder({ ...DEFAULTS, checkpoint, arch, format, part, output, names: "plain" });
          assertEquals(await nameOf(output), arch);
        }
      }

      const ofRun = torchDict([["terms", torchDict([["teacher_arch", arch], ["image_size", 32]])]]);
      const ofTeacher = buildInput(inputOf(findEncoder(arch), { imageSize: 32 }));
      for (const entry of [["seed_resume", ofRun], ["seed_teacher_input", ofTeacher]] as const) {
        const distillation = `${folder}/distillation.pth.tar`;
        await writeShapes(distillation, arch, {
          prefix: "module.teacher.",
          more: { "module.student.conv1.weight": [64, 3, 7, 7] },
          wrap: (dict) => torchDict([["state_dict", dict], entry]),
        });
        for (const choice of [{ which: "teacher" }, { weights: "module.teacher" }] as const) {
          assertEquals(await nameOf(distillation, choice), arch);
        }
        const { encoders } = await inspectCheckpoint(distillation);
        assertEquals(encoders.find(({ name }) => name === "teacher")?.recognized[0], arch);
      }
    }
  });
});
