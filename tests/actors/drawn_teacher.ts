/** Teachers that no training made: their weights are drawn. */
import { OrderedDict, TensorValue, torchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import type { HeadOptions } from "../../models/heads.ts";
import { initialize, type StateValues } from "../../models/initialize.ts";
import { findEncoder, summarize } from "../../models/registry.ts";

/** A teacher with weights that are drawn from a seed. */
export interface DrawnTeacher {
  arch: string;
  head: HeadOptions;
  values: StateValues;
}

/** Draws a teacher, and writes it as a checkpoint of MoCo. */
export async function drawTeacher(
  path: string,
  arch: string,
  head: HeadOptions,
  seed: number,
): Promise<DrawnTeacher> {
  const { state } = summarize(findEncoder(arch), head, 32);
  const values = initialize(state, seed);
  const tensors = state.filter(({ key }) => values.has(key))
    .map(({ key, shape }): [string, TensorValue] => [
      `module.encoder_q.${key}`,
      new TensorValue("float32", [...shape], values.get(key)!),
    ]);
  await writeTorchFile(path, torchDict([["epoch", 1], ["state_dict", new OrderedDict(tensors)]]));
  return { arch, head, values };
}
