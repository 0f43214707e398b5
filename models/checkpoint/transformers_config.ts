/**
 * What Hugging Face transformers keeps beside `model.safetensors` or `pytorch_model.bin`: `config.json`, which says what no
 * tensor's shape does, and `preprocessor_config.json`, which has the mean and deviation of its images, and the filter that resizes
 * them. timm has these in its `config.json`.
 */
import { dirname, join } from "node:path";
import type { ResizeFilter } from "../../kernels/image/resize_table.ts";
import type { ByChannel } from "./saved_input.ts";

/** What is taken of these files; each may be missing. */
export interface TransformersConfig {
  /** Length of the feature, by which it is told that they are of these weights. */
  readonly width: number;
  /** timm's name of the encoder, `architecture`. */
  readonly architecture?: string;
  /** Attention heads, `num_attention_heads`. */
  readonly heads?: number;
  /** Base of the periods of rotary positions, `rope_theta`. */
  readonly ropeTheta?: number;
  /** By channel, in units of [0, 1]; both or neither. */
  readonly mean?: ByChannel;
  readonly std?: ByChannel;
  /**
   * `resample`, of files that resize the shorter side and crop the middle as evaluations do; or timm's `interpolation`. transformers'
   * files of DINO and DINOv3 squeeze an image into a square instead, and by another filter than their authors' evaluations.
   */
  readonly interpolation?: ResizeFilter;
}

/** Numbers of Pillow's filters. */
const FILTERS: Readonly<Record<number, ResizeFilter>> = { 2: "bilinear", 3: "bicubic" };

/** Files that such ones lie beside. */
const OF_HUGGING_FACE = /\.safetensors(\.index\.json)?$|(^|[\\/])pytorch_model\.bin$/;
/** These files take a few kilobytes. */
const MAX_BYTES = 2 ** 20;

/** Paths of the two files for a checkpoint; none where its name is of another program. */
export function configsBeside(path: string): string[] {
  if (!OF_HUGGING_FACE.test(path)) return [];
  return ["config.json", "preprocessor_config.json"].map((name) => join(dirname(path), name));
}

/** Reads them. What is missing, may not be read or makes no sense is left out: weights can be used without it. */
export async function readTransformersConfig(path: string): Promise<TransformersConfig | undefined> {
  const [config, images] = await Promise.all(configsBeside(path).map(readObject));
  const widths = config?.hidden_sizes; // a ConvNeXt's stages
  const width = count(
    config?.hidden_size ?? (Array.isArray(widths) ? widths.at(-1) : config?.num_features), // the last is timm's
  );
  if (config === undefined || width === undefined) return undefined;
  const rope = config.rope_theta ?? entry(config.rope_parameters, "rope_theta");
  const [mean, std] = ["mean", "std"].map((name) =>
    channels(images?.[`image_${name}`] ?? entry(config.pretrained_cfg, name))
  );
  const isUsable = mean !== undefined && std !== undefined && std.every((value) => value > 0);
  const interpolation = images?.do_center_crop === true
    ? FILTERS[Number(images.resample)]
    : Object.values(FILTERS).find((filter) => filter === entry(config.pretrained_cfg, "interpolation"));
  const { architecture } = config;
  return {
    width,
    ...typeof architecture === "string" && { architecture },
    heads: count(config.num_attention_heads),
    ...typeof rope === "number" && rope > 0 && { ropeTheta: rope },
    ...isUsable && { mean, std },
    ...interpolation && { interpolation },
  };
}

async function readObject(path: string): Promise<Record<string, unknown> | undefined> {
  try {
    // Asking for a permission would stop a run for a file that may not be there.
    const { state } = await Deno.permissions.query({ name: "read", path });
    if (state !== "granted" || (await Deno.stat(path)).size > MAX_BYTES) return undefined;
    const value: unknown = JSON.parse(await Deno.readTextFile(path));
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}

function entry(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function count(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) > 0 ? value as number : undefined;
}

function channels(value: unknown): ByChannel | undefined {
  return Array.isArray(value) && value.length === 3 && value.every((item) => Number.isFinite(item))
    ? value as unknown as ByChannel
    : undefined;
}
