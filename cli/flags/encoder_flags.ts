/** The flags of commands that look at an encoder: which checkpoint, and what in it. */
import type { FlagsContext, FlagTable } from "./flags.ts";
import { pluginFlag } from "./plugin.ts";

/** What such a program depends on besides the arguments. */
export interface EncoderFlagsContext extends FlagsContext {
  /** Names of the encoders that exist. */
  encoders: readonly string[];
  /** Makes the list of encoders that the help ends with. */
  encoderTable?: () => string;
}

/** Rows of a command's table; `arch` says what that flag is for there. */
export function encoderFlags({ encoders, encoderTable }: EncoderFlagsContext, group: string, arch: string) {
  return {
    pretrained: {
      kind: "text",
      metavar: "FILE",
      group,
      help:
        "checkpoint of the encoder: of deno task distill or export, the original, MoCo, SimCLR, SWAV or torchvision (its ResNets)",
    },
    arch: {
      kind: "choice",
      values: encoders,
      valuesShown: encoderTable === undefined ? undefined : "see the list at the end",
      short: "a",
      group,
      help: arch,
    },
    which: {
      kind: "choice",
      values: ["student", "teacher"],
      group,
      help: "which encoder of a distillation's checkpoint",
    },
    plugin: pluginFlag(group),
  } as const satisfies FlagTable;
}

/** What {@linkcode encoderFlags} says of `arch` where an encoder without a checkpoint is of use. */
export const FRESH_ENCODER = "the encoder; without --pretrained it has fresh weights, to compare with";
