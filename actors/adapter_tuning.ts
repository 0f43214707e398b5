/** Keeps what was measured of each adapter, so that it is measured once. */
import { dirname, join } from "node:path";
import { cacheFolder } from "../data/cache_folder.ts";
import { replaceTextFile } from "../data/replace_file.ts";
import { DeviceMemoryError, type Gpu, openGpu } from "../kernels/gpu.ts";
import { measureTuning } from "../kernels/tuning/measure.ts";
import { formatTuning, parseTuning, type Tuning } from "../kernels/tuning/tuning.ts";

/** Kernels of another version may be fast at other things. */
const VERSION = 5;

/**
 * The file that has an adapter's table, by its name as the driver gives it. A software adapter has the same name on OpenGL, where
 * it has no subgroups.
 */
function fileOf({ adapter, target }: Gpu, folder: string | undefined): string | undefined {
  const name = adapter.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "");
  const lacks = target.isSoftware && !target.hasSubgroups ? "-no-subgroups" : "";
  return folder && join(folder, `tuning-${VERSION}-${name}${lacks}-deno-${Deno.version.deno}.json`);
}

/** Options for {@linkcode tuneAdapter}. */
export interface TuneOptions {
  /** Folder of the tables. Default: in the user's cache folder. */
  folder?: string;
  /** Called with the number of finished measurements, if the adapter is measured. */
  onProgress?(done: number, total: number): void;
  /** Called if the table cannot be saved, or a saved table cannot be used. */
  onWarning?(text: string): void;
}

/**
 * Returns the kernel tuning of the adapter in use. Reads the saved table; if there is none, measures the adapter,
 * which takes some seconds, and saves the table.
 *
 * @throws {NoAdapterError} if there is no adapter
 */
export async function tuneAdapter(
  { folder = cacheFolder(), onProgress, onWarning }: TuneOptions = {},
): Promise<Tuning> {
  const gpu = await openGpu("tuning");
  try {
    const path = fileOf(gpu, folder);
    if (path !== undefined) {
      try {
        return parseTuning(await Deno.readTextFile(path), path, "The adapter is measured again");
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) onWarning?.((error as Error).message);
      }
    }
    let tuning: Tuning;
    try {
      tuning = await measureTuning(gpu, onProgress);
    } catch (error) {
      if (!(error instanceof DeviceMemoryError)) throw error;
      onWarning?.(
        "the device has too little memory left to measure its kernels; those that suit most of its kind are used",
      );
      return { ...gpu.target.tuning, adapter: gpu.adapter.name };
    }
    if (path === undefined) return tuning;
    try {
      await Deno.mkdir(dirname(path), { recursive: true });
      await replaceTextFile(path, formatTuning(tuning));
    } catch (error) {
      onWarning?.(`${path}: cannot save the kernel tuning: ${(error as Error).message}`);
    }
    return tuning;
  } finally {
    gpu.destroy();
  }
}
