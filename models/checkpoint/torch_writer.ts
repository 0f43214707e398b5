/** Writes files that `torch.load` opens, whole or not at all. */
import { basename } from "node:path";
import { pickle } from "./pickle.ts";
import { replaceFile } from "../../data/replace_file.ts";
import type { TensorRef } from "./tensor_ref.ts";
import { TensorValue, type TorchValue } from "./torch_value.ts";
import { ZipWriter } from "./zip_writer.ts";

/**
 * Writes `value` as `torch.save` does (zip container, version 3).
 *
 * The data goes to a temporary file in the same folder, is flushed to the disk, and takes its name last: at any moment
 * there is either the whole old file or the whole new one. Tensors in memory are not copied; of {@linkcode TensorRef}s
 * one is held at a time.
 *
 * @example
 * ```ts
 * import { writeTorchFile } from "./torch_writer.ts";
 * import { PyFloat, TensorValue, torchDict } from "./torch_value.ts";
 * const weight = new TensorValue("float32", [2, 2], Float32Array.of(1, 2, 3, 4));
 * await writeTorchFile("model.pth.tar", torchDict([["lr", new PyFloat(1)], ["weight", weight]]));
 * ```
 *
 * @param onTensor called with how many of all tensors are written, and waited for
 * @throws FileWriteError where the disk is full, the folder is missing or read-only; the temporary file is gone
 * @throws CheckpointError where a TensorRef in `value` cannot be read; the temporary file is gone
 */
export async function writeTorchFile(
  path: string,
  value: TorchValue,
  onTensor?: (done: number, total: number) => void | Promise<void>,
): Promise<void> {
  const storages: (TensorValue | TensorRef)[] = [];
  const keys = new Map<unknown, string>();
  const data = pickle(value, (tensor) => {
    // Tensors with the same memory share a storage, as tied weights do in PyTorch.
    const identity = tensor instanceof TensorValue ? tensor.data : tensor;
    const key = keys.get(identity) ?? String(storages.length);
    if (!keys.has(identity)) storages.push(tensor);
    keys.set(identity, key);
    return key;
  });

  await replaceFile(path, async (file) => {
    const archive = basename(path).replace(/(\.pth)?\.(tar|pth|pt)$/, "") || "archive";
    const zip = new ZipWriter(file);
    const text = new TextEncoder();
    zip.add(`${archive}/data.pkl`, data);
    zip.add(`${archive}/byteorder`, text.encode("little"));
    for (const [key, tensor] of storages.entries()) {
      const { buffer, byteOffset, byteLength } = tensor instanceof TensorValue
        ? tensor.data
        : await tensor.readRaw();
      zip.add(`${archive}/data/${key}`, new Uint8Array(buffer, byteOffset, byteLength));
      await onTensor?.(key + 1, storages.length);
    }
    zip.add(`${archive}/version`, text.encode("3\n"));
    zip.finish();
  });
}
