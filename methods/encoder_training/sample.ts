/** Options for the bundled images, of every method that trains an encoder. */
import { join } from "node:path";
import { SAMPLE_DATA } from "../../data/sample.ts";
import { UserError } from "../../errors.ts";
import type { EncoderTrainingOptions } from "./options.ts";
import { type StepOptions, type TrainedAs, withOptimizer } from "./step_options.ts";

/** Options whose defaults depend on the encoder. */
const OF_ENCODER = ["optimizer", "dropPath", "lr", "weightDecay"] as const;
type OfEncoder = typeof OF_ENCODER[number];

/** Whose defaults a run takes. */
export interface DefaultsInput {
  /** `sample` for the defaults for the bundled images; those for images of one's own where it is left out. */
  defaults?: "sample";
}

/**
 * Options for the bundled images. `testData` is left to the run where other images are given. So are `optimizer`, `dropPath`, `lr`
 * and `weightDecay` where the encoder is a plugin's that is not imported yet; `defaults` says then that they are the sample's.
 */
export type SampleOptions<Options extends EncoderTrainingOptions> =
  & Omit<Options, "testData" | "optimizer" | "dropPath" | "lr" | "weightDecay">
  & Partial<Pick<Options, "testData" | "optimizer" | "dropPath" | "lr" | "weightDecay">>
  & DefaultsInput;

/**
 * Returns whether a run takes the defaults for the bundled images.
 *
 * @throws {UserError} for another word
 */
export function takesSampleDefaults({ defaults }: DefaultsInput): boolean {
  if (defaults !== undefined && defaults !== "sample") {
    throw new UserError(`defaults: expected "sample", found ${Deno.inspect(defaults)}`);
  }
  return defaults === "sample";
}

/** The bundled test images; none where other images are given, which are not to vote for their classes. */
export function sampleTestData({ data }: { data?: string }): { testData?: string } {
  return data === undefined ? { testData: join(SAMPLE_DATA, "test.tsv") } : {};
}

/**
 * Does what {@linkcode withOptimizer} does where the encoder is known. Else what depends on the encoder is left out, if it is not asked
 * for, and the run is told whose defaults to take: it will know the encoder, and would take for asked for what is not left out.
 *
 * @param encoder `undefined` where a plugin registers it later
 */
export function withKnownOptimizer<Options extends StepOptions>(
  options: Options,
  encoder: TrainedAs | undefined,
  asked: Partial<Options>,
  ofAdamW: Partial<Options>,
): Omit<Options, OfEncoder> & Partial<Pick<Options, OfEncoder>> & DefaultsInput {
  if (encoder !== undefined) return withOptimizer(options, encoder, asked, ofAdamW);
  const isOpen = (name: OfEncoder) =>
    asked[name] === undefined && (asked.optimizer === undefined || name === "dropPath");
  const open = OF_ENCODER.filter(isOpen) as string[];
  const whole = withOptimizer(options, { name: "the encoder", dropPath: 0 }, asked, ofAdamW);
  const closed = Object.fromEntries(
    Object.entries(whole).filter(([name]) => !open.includes(name)),
  ) as Options;
  return { ...closed, defaults: "sample" };
}
