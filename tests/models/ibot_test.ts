/** Checkpoints of iBOT (Zhou et al. 2022), whose vision transformers are DINO's. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { loadStateDict } from "../../models/checkpoint/state_dict.ts";
import { OrderedDict, TensorValue, type TorchDict, torchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { chooseInput } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { withGpu } from "../kernels/check_op.ts";
import { formulaTensor, referenceJson, referencePath } from "../reference.ts";
import { vitTest } from "../vit_files.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import { differenceOf, embedReference } from "./vit_reference.ts";

const DINO = "vit/checkpoints/dino_tiny.pth";
const [WIDTH, BOTTLENECK, OUTPUTS] = [64, 16, 32];
const ENCODER = "dino_vit_p16_w64_b2_h2_f256_r0_g4";

/** A tensor of the formula's numbers. */
function drawn(name: string, shape: readonly number[]): TensorValue {
  const values = formulaTensor(`ibot.${name}`, shape, "weight");
  return new TensorValue("float32", shape, Float32Array.from(values));
}

/** iBOT's `iBOTHead`: class tokens and patches have a last layer each. */
function headOf(prefix: string): [string, TensorValue][] {
  const shapes: Record<string, number[]> = {
    "mlp.0.weight": [WIDTH, WIDTH],
    "mlp.0.bias": [WIDTH],
    "mlp.2.weight": [BOTTLENECK, WIDTH],
    "mlp.2.bias": [BOTTLENECK],
    "last_layer.weight_g": [OUTPUTS, 1],
    "last_layer.weight_v": [OUTPUTS, BOTTLENECK],
    "last_layer2.weight_g": [OUTPUTS, 1],
    "last_layer2.weight_v": [OUTPUTS, BOTTLENECK],
  };
  return Object.entries(shapes).map(([name, shape]) => {
    return [`${prefix}head.${name}`, drawn(name, shape)];
  });
}

/**
 * What iBOT's `main_ibot.py` saves: the student, which alone has a token of masked patches and is wrapped; the teacher; the
 * centres of its loss. The teacher has DINO's reference weights, the student others.
 */
async function ibotCheckpoint(): Promise<{ checkpoint: TorchDict; student: Map<string, TensorValue> }> {
  using dino = await loadStateDict(referencePath(DINO));
  const teacher = new OrderedDict();
  const student = new Map<string, TensorValue>();
  for (const [key, tensor] of dino.tensors) {
    const values = await tensor.read();
    teacher.set(`backbone.${key}`, new TensorValue("float32", tensor.shape, values));
    student.set(key, new TensorValue("float32", tensor.shape, values.map((value) => value * 0.5)));
  }
  for (const [key, value] of headOf("")) teacher.set(key, value);
  student.set("masked_embed", drawn("masked_embed", [1, WIDTH]));
  const wrapped = [...student].map(([key, value]) => [`module.backbone.${key}`, value] as const);
  const center = new TensorValue("float32", [1, 1, OUTPUTS], new Float32Array(OUTPUTS));
  const checkpoint = torchDict([
    ["student", new OrderedDict([...wrapped, ...headOf("module.")])],
    ["teacher", teacher],
    ["optimizer", torchDict([["state", torchDict([])], ["param_groups", []]])],
    ["epoch", 7],
    ["ibot_loss", new OrderedDict([["center", center], ["center2", center]])],
    ["fp16_scaler", torchDict([])],
  ]);
  return { checkpoint, student };
}

vitTest(
  "parity: of a checkpoint of iBOT the teacher is taken, and embeds as its authors' code does",
  () =>
    withFolder((folder) =>
      withGpu(async (gpu) => {
        const path = `${folder}/checkpoint0007.pth`;
        await writeTorchFile(path, (await ibotCheckpoint()).checkpoint);
        using source = await openEncoderSource(path, { heads: 2, part: "encoder" });
        assertEquals([source.encoder.name, source.epoch], [ENCODER, 7]);
        assertEquals([source.prefix, source.others], ["teacher.backbone.", ["student.backbone."]]);
        assertStringIncludes(
          chooseInput(source, {}).note!,
          "the encoder is under teacher.backbone.*; ignored student.backbone., which --weights can select",
        );
        const { outputs } = referenceJson(`${DINO}.expected.json`);
        for (const [size, { embedding }] of Object.entries<{ embedding: number[][] }>(outputs)) {
          const actual = await embedReference(gpu, source.encoder, source.read, size);
          const difference = differenceOf(actual, embedding.flat());
          assert(difference <= 2e-5, `${size}: ${difference}`);
        }
        const { encoders } = await inspectCheckpoint(path, { heads: 2 });
        assertEquals(encoders.map(({ name, recognized }) => [name, recognized]), [
          ["teacher.backbone", [ENCODER]],
          ["student.backbone", [ENCODER]],
        ]);
      })
    ),
);

vitTest(
  "--weights student selects iBOT's other encoder, whose token of masked patches is exported too",
  () =>
    withFolder(async (folder) => {
      const { checkpoint, student } = await ibotCheckpoint();
      const [path, output] = ["checkpoint.pth", "student.pth"].map((name) => `${folder}/${name}`);
      await writeTorchFile(path, checkpoint);
      await exportEncoder({
        ...{ checkpoint: path, output, format: "pth", part: "backbone", weights: "student", heads: 2 },
        ...{ normalize: false, force: false },
      });
      using exported = await loadStateDict(output);
      assertEquals([...exported.tensors.keys()].toSorted(), [...student.keys()].toSorted());
      for (const [key, { data }] of student) {
        assertEquals(await exported.tensors.get(key)!.readRaw(), data, key);
      }
    }),
);

vitTest("the teacher's backbone alone is read as iBOT publishes it", () =>
  withFolder(async (folder) => {
    const path = `${folder}/checkpoint_teacher.pth`;
    const { student } = await ibotCheckpoint();
    await writeTorchFile(path, torchDict([["state_dict", new OrderedDict([...student])]]));
    using source = await openEncoderSource(path, { heads: 2, part: "encoder" });
    assertEquals([source.encoder.name, source.prefix], [ENCODER, ""]);
  }));
