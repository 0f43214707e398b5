/** A sweep whose best learning rate is another one on other images. */
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { PyFloat, TensorValue, type TorchDict, torchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";

/** The class that the second classifier takes all images for. */
const CLASS = 3;

/** Writes images once more, all with the label of that class. */
export function writeOneClass(data: string, path: string): void {
  Deno.writeTextFileSync(path, Deno.readTextFileSync(data).replace(/\t\d+\t/g, `\t${CLASS}\t`));
}

/**
 * Writes the checkpoint of a linear evaluation of two learning rates once more. The second classifier takes all images for one class,
 * and a third one is of learning rate 0.2. The first one was the best of the run.
 *
 * @param isChosen of each, by index; `null` where the file does not say it
 */
export async function writeBiasedSweep(
  checkpoint: string,
  path: string,
  isChosen: (i: number) => boolean | null,
): Promise<string> {
  using file = await openCheckpointFile(checkpoint);
  const root = file.value as TorchDict;
  const sweep = root.get("seed_sweep") as TorchDict[];
  const third = new Map(sweep[0]) as TorchDict;
  third.set("lr", new PyFloat(0.2));
  const bias = Float32Array.from({ length: 10 }, (_, i) => Number(i === CLASS));
  const values = torchDict([
    ["fc.weight", new TensorValue("float32", [10, 8], new Float32Array(10 * 8))],
    ["fc.bias", new TensorValue("float32", [10], bias)],
  ]);
  sweep[1].set("values", values);
  sweep.push(third);
  for (const [i, probe] of sweep.entries()) {
    probe.set("best_acc1", new PyFloat(i === 0 ? 90 : 80));
    probe.set("is_chosen", isChosen(i));
  }
  await writeTorchFile(path, root);
  return path;
}
