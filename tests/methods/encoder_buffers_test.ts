// An encoder with buffers of its own, which optimizers do not number: the periods of DINOv3's rotary positions.
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { readTrainingCheckpoint } from "../../methods/encoder_training/checkpoint.ts";
import { MOCO_CHECKPOINT } from "../../methods/moco/encoders.ts";
import { finetune, pretrain } from "../../methods/runs.ts";
import { buildAdamWState, readAdamWSteps } from "../../models/checkpoint/adamw_state.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { buildSgdState } from "../../models/checkpoint/sgd_state.ts";
import type { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import type { TorchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { findEncoder, summarize } from "../../models/registry.ts";
import { digestFile, RunFolder } from "../actors/small_run.ts";

const ARCH = "dinov3_vit_p8_w64_b1_h1_f64_r4_g0";
const PERIODS = "rope_embed.periods";
const HEAD = { kind: "mlp", dimension: 8 } as const;

/** The numbers of an optimizer's parameters, and of those that it keeps something of. */
async function numbersOf(checkpoint: string): Promise<[params: number[], state: number[]]> {
  using file = await openCheckpointFile(checkpoint);
  const optimizer = (file.value as TorchDict).get("optimizer") as TorchDict;
  const groups = optimizer.get("param_groups") as TorchDict[];
  const params = groups.flatMap((group) => group.get("params") as number[]);
  const kept = [...(optimizer.get("state") as TorchDict).keys()] as number[];
  return [params, kept.toSorted((a, b) => a - b)];
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

async function readAll(
  tensors: ReadonlyMap<string, TensorRef>,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [key, tensor] of tensors) values.set(key, Float32Array.from(await tensor.read()));
  return values;
}

/** Writes a pretraining's checkpoint once more, with the optimizer's parameters numbered as if the periods were one. */
async function renumber(checkpoint: string, path: string): Promise<string> {
  using file = await openCheckpointFile(checkpoint);
  const root = file.value as TorchDict;
  const { encoder, beside, sgd, momentum, adamw } = readTrainingCheckpoint(MOCO_CHECKPOINT, file);
  const entries = [...encoder].map(([key, { shape }]) => ({ key, shape }))
    .filter(({ key }) => !/running_|num_batches_tracked/.test(key));
  if (adamw !== undefined) {
    const moments = { averages: await readAll(adamw.averages), squares: await readAll(adamw.squares) };
    const settings = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 } as const;
    const steps = await readAdamWSteps(adamw, (problem) => new CheckpointError(checkpoint, problem));
    root.set("optimizer", buildAdamWState(settings, [{ lr: 1, entries }], moments, steps));
  } else {
    const values = await readAll(momentum);
    const buffers = entries.flatMap(({ key, shape }, index) => {
      const data = values.get(key);
      return data === undefined ? [] : [{ index, shape, data }];
    });
    const ofKeys = [...beside.keys()].filter((key) => !/running_|num_batches_tracked/.test(key)).length;
    root.set("optimizer", buildSgdState(sgd!, entries.length + ofKeys, buffers));
  }
  await writeTorchFile(path, root);
  return path;
}

for (const optimizer of ["adamw", "sgd"] as const) {
  Deno.test(`a DINOv3 that is fine-tuned with ${optimizer} is resumed and evaluated`, async () => {
    using folder = new RunFolder(8, 8);
    const tuning = (name: string) => ({
      ...{ data: folder.data, testData: join(folder.data, "test.tsv"), output: folder.makeOutput(name) },
      ...{ pretrained: null, arch: ARCH, optimizer, batchSize: 4, imageSize: 16, workers: 1, epochs: 2 },
    });
    const whole = await finetune(tuning("whole")).result;
    const first = await finetune({ ...tuning("first"), epochs: 1 }).result;
    const second = await finetune({ ...tuning("second"), resume: first.checkpoint! }).result;
    assertEquals(await digestFile(second.checkpoint!), await digestFile(whole.checkpoint!));
    const evaluation = { ...tuning("evaluated"), resume: whole.checkpoint!, evaluate: true };
    assertEquals((await finetune(evaluation).result).last, whole.last);
  });

  Deno.test(`a pretraining of a DINOv3 numbers ${optimizer}'s parameters without its buffers, and goes on from either numbering`, async () => {
    using folder = new RunFolder(8);
    const pretraining = (name: string) => ({
      ...{ data: folder.data, testData: null, output: folder.makeOutput(name), insight: false, workers: 1 },
      ...{ arch: ARCH, optimizer, batchSize: 4, imageSize: 16, epochs: 2, lr: 0.01, scaleLr: false },
      ...{ mocoDim: HEAD.dimension, mocoK: 16, warmupEpochs: 0, lrPerStep: false },
    });
    const whole = await pretrain(pretraining("whole")).result;
    const begun = await pretrain({ ...pretraining("begun"), limitSteps: 1 }).result;
    const { state } = summarize(findEncoder(ARCH), HEAD, 16);
    const trained = state.filter(({ kind }) => kind === "parameter").length;
    assertEquals(state.map(({ key }) => key).includes(PERIODS), true);
    const ofBoth = optimizer === "sgd" ? 2 * trained : trained;
    assertEquals(await numbersOf(begun.checkpoint), [upTo(ofBoth), upTo(trained)]);

    const old = await renumber(begun.checkpoint, join(folder.path, "old.pth.tar"));
    assertEquals((await numbersOf(old))[0].length, optimizer === "sgd" ? ofBoth + 2 : ofBoth + 1);
    for (const [i, resume] of [begun.checkpoint, old].entries()) {
      const resumed = await pretrain({ ...pretraining(`resumed ${i}`), resume }).result;
      assertEquals(await digestFile(resumed.checkpoint), await digestFile(whole.checkpoint));
    }
  });
}
