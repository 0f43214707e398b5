import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  buildTrainingCheckpoint,
  readTrainingCheckpoint,
} from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { checkpointFileName } from "../../../methods/seed/checkpoint.ts";
import type { NamedTensor } from "../../../models/checkpoint/named_tensor.ts";
import type { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { TensorValue, torchDict, type TorchValue } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { referencePath } from "../../reference.ts";
import { checkpointErrorOf, withFolder } from "../../models/checkpoint/fixtures.ts";

/** All tensors of a map, in memory. */
async function readNamed(tensors: ReadonlyMap<string, TensorRef>): Promise<NamedTensor[]> {
  const named: NamedTensor[] = [];
  for (const [key, tensor] of tensors) {
    named.push({ key, dtype: tensor.dtype, shape: tensor.shape, data: await tensor.readRaw() });
  }
  return named;
}

async function describe(value: unknown): Promise<unknown> {
  if (value instanceof Map) {
    const entries: [unknown, unknown][] = [];
    for (const [key, item] of value) entries.push([key, await describe(item)]);
    return entries;
  }
  if (Array.isArray(value)) return await Promise.all(value.map(describe));
  if (typeof value !== "object" || value === null) return value;
  const tensor = value as TensorRef;
  return [tensor.dtype, tensor.shape, await tensor.readRaw()];
}

for (const container of ["zip", "legacy"]) {
  Deno.test(`parity: the original's ${container} checkpoint comes back the same after being read and built`, async () => {
    await withFolder(async (folder) => {
      using original = await openCheckpointFile(
        referencePath(`checkpoints/seed_student.${container}.pth.tar`),
      );
      const saved = readTrainingCheckpoint(DISTILL_CHECKPOINT, original);
      const value = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
        epoch: saved.epoch,
        arch: saved.arch,
        encoder: await readNamed(saved.encoder),
        beside: saved.beside,
        queue: { shape: saved.queue!.shape, data: await saved.queue!.read() },
        queuePointer: (await saved.queuePointer!.read())[0],
        sgd: { lr: 0.03, momentum: 0.9, weightDecay: 1e-4 },
        momentum: new Map(),
      });
      await writeTorchFile(`${folder}/copy.pth.tar`, value);
      using copy = await openCheckpointFile(`${folder}/copy.pth.tar`);
      const root = original.value as Map<string, unknown>;
      const copied = copy.value as Map<string, unknown>;
      assertEquals([...copied.keys()], [...root.keys()]);
      for (const key of ["epoch", "arch", "state_dict"]) {
        assertEquals(await describe(copied.get(key)), await describe(root.get(key)), key);
      }
    });
  });
}

Deno.test("parity: MoCo's optimizer state has the layout that buildTrainingCheckpoint() writes", async () => {
  using moco = await openCheckpointFile(referencePath("checkpoints/moco.zip.pth.tar"));
  const optimizer = (moco.value as Map<string, Map<string, Map<number, Map<string, TensorRef>>>>).get(
    "optimizer",
  )!;
  const [group] = optimizer.get("param_groups") as unknown as Map<string, unknown>[];
  const buffer = optimizer.get("state")!.get(0)!.get("momentum_buffer")!;
  const parameters = (group.get("params") as number[]).map((i): NamedTensor => {
    const shape = i === 0 ? buffer.shape : [1];
    return { key: `p${i}.weight`, shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
  });
  const value = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
    epoch: 1,
    arch: "resnet18",
    encoder: parameters,
    sgd: {
      lr: group.get("lr") as number,
      momentum: group.get("momentum") as number,
      weightDecay: group.get("weight_decay") as number,
    },
    momentum: new Map([["p0.weight", await buffer.read()]]),
  });
  await withFolder(async (folder) => {
    await writeTorchFile(`${folder}/a.pth.tar`, value);
    using file = await openCheckpointFile(`${folder}/a.pth.tar`);
    const built = (file.value as Map<string, unknown>).get("optimizer");
    assertEquals(await describe(built), await describe(optimizer));
  });
});

const SIZES: [string, number[]][] = [
  ["conv1.weight", [2, 3, 1, 1]],
  ["bn1.weight", [2]],
  ["bn1.bias", [2]],
  ["bn1.running_mean", [2]],
  ["bn1.running_var", [2]],
  ["fc.0.weight", [2, 2]],
];

function tensors(first: number): NamedTensor[] {
  return SIZES.map(([key, shape], i) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return { key, shape, data: new Float32Array(size).map((_, j) => first + i + j / 8) };
  });
}

Deno.test("readTrainingCheckpoint() gives back everything that a run needs to go on", async () => {
  const momentum = new Map([["conv1.weight", Float32Array.of(1, 2, 3, 4, 5, 6)], [
    "fc.0.weight",
    Float32Array.of(7, 8, 9, 1),
  ]]);
  const value = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
    epoch: 7,
    arch: "resnet18",
    encoder: tensors(10),
    beside: tensors(20),
    queue: { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
    smallQueue: { shape: [2, 3], data: Float32Array.of(6, 5, 4, 3, 2, 1) },
    queuePointer: 2,
    sgd: { lr: 1, momentum: 0.9, weightDecay: 0 },
    momentum,
    resume: torchDict([["step", 99], [
      "random",
      new TensorValue("int32", [2], Int32Array.of(-1, 2 ** 31 - 1)),
    ]]),
  });
  await withFolder(async (folder) => {
    const path = `${folder}/${checkpointFileName(6)}`;
    await writeTorchFile(path, value);
    using file = await openCheckpointFile(path);
    const saved = readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
    assertEquals([saved.epoch, saved.arch, saved.sgd], [7, "resnet18", {
      lr: 1,
      momentum: 0.9,
      weightDecay: 0,
    }]);
    const plain = (named: NamedTensor[]) => named.map(({ key, shape, data }) => ({ key, shape, data }));
    assertEquals(plain(await readNamed(saved.encoder)), tensors(10));
    assertEquals(plain(await readNamed(saved.beside)), tensors(20));
    assertEquals([...await saved.queue!.read()], [1, 2, 3, 4, 5, 6]);
    assertEquals([...await saved.smallQueue!.read()], [6, 5, 4, 3, 2, 1]);
    assertEquals([...await saved.queuePointer!.readRaw()], [2n]);
    assertEquals([...saved.momentum.keys()], [...momentum.keys()]);
    for (const [key, buffer] of saved.momentum) assertEquals(await buffer.read(), momentum.get(key));
    const resume = saved.resume as Map<string, TorchValue>;
    assertEquals(resume.get("step"), 99);
    assertEquals([...await (resume.get("random") as TensorRef).readRaw()], [-1, 2 ** 31 - 1]);

    using state = await loadStateDict(path);
    assertEquals([state.framework, state.epoch, state.arch], ["seed", 7, "resnet18"]);
    assertEquals([...state.tensors.keys()], SIZES.map(([key]) => key));
  });
});

Deno.test("buildTrainingCheckpoint() numbers the parameters as PyTorch does, without buffers, the teacher's last", () => {
  const momentum = new Map([["fc.0.weight", new Float32Array(4)]]);
  const sgd = { lr: 1, momentum: 0.9, weightDecay: 0 };
  const value = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
    epoch: 1,
    arch: "a",
    encoder: tensors(0),
    beside: tensors(1),
    sgd,
    momentum,
  });
  const optimizer = value.get("optimizer") as Map<string, TorchValue>;
  assertEquals([...(optimizer.get("state") as Map<number, unknown>).keys()], [3]);
  const [group] = optimizer.get("param_groups") as Map<string, TorchValue>[];
  assertEquals(group.get("params"), [0, 1, 2, 3, 4, 5, 6, 7]);
  assertThrows(
    () => {
      const wrong = new Map([["bn1.running_mean", new Float32Array(2)]]);
      buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
        epoch: 1,
        arch: "a",
        encoder: tensors(0),
        sgd,
        momentum: wrong,
      });
    },
    Error,
    "trained parameters only",
  );
});

Deno.test("readTrainingCheckpoint() refuses other checkpoints and a momentum that does not fit", async () => {
  const read = async (path: string) => {
    using file = await openCheckpointFile(path);
    return readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
  };
  const refused = (name: string) => checkpointErrorOf(referencePath(`checkpoints/${name}`), read);
  assertStringIncludes(await refused("torchvision.zip.pth.tar"), "has no valid epoch and arch");
  assertStringIncludes(await refused("moco.zip.pth.tar"), "no keys module.student.*");

  const value = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
    epoch: 1,
    arch: "a",
    encoder: tensors(0),
    sgd: { lr: 1, momentum: 0.9, weightDecay: 0 },
    momentum: new Map([["conv1.weight", new Float32Array(6)]]),
  });
  const state = (value.get("optimizer") as Map<string, Map<TorchValue, TorchValue>>).get("state")!;
  await withFolder(async (folder) => {
    for (const index of [1, 99, "x"]) {
      const path = `${folder}/${index}.pth.tar`;
      const [buffer] = state.values();
      state.clear();
      state.set(index, buffer);
      await writeTorchFile(path, value);
      assertStringIncludes(await checkpointErrorOf(path, read), `optimizer state "${index}"`);
    }
  });
});

Deno.test("checkpointFileName() has the epoch in four digits, and the original's words on request", () => {
  assertEquals(checkpointFileName(7), "checkpoint_0007.pth.tar");
  const names = { teacherSsl: "moco", epochs: 200, studentArch: "resnet18", teacherArch: "resnet50" };
  assertEquals(
    checkpointFileName(12345, names),
    "Teacher_moco_T-Epoch_200_Student_resnet18_distill-Epoch_resnet50-checkpoint_12345.pth.tar",
  );
});
