/** `deno task embed`: flags in, files of embeddings out. The run itself is `methods/embedding.ts`. */
import type { World } from "../../actors/ranks/world.ts";
import type { EmbeddingResult, EmbedEvent, Neighbours } from "../../methods/embedding.ts";
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import type { RankedSettings } from "../../methods/method.ts";
import { embed } from "../../methods/runs.ts";
import { openDataset } from "../../data/open_dataset.ts";
import { replaceFile, replaceFiles, requireWritable, writeAll } from "../../data/replace_file.ts";
import { requireNew } from "../../data/require_new.ts";
import { UserError } from "../../errors.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { chosenEncoder, encoderNames } from "../../models/registry.ts";
import { contactSheet } from "../output/contact_sheet.ts";
import { CountProgress } from "../terminal/count_progress.ts";
import { formatDuration } from "../terminal/duration.ts";
import { type EmbedCommand, parseEmbedFlags } from "../flags/embed_flags.ts";
import {
  type EmbeddingWriter,
  namesPath,
  openEmbeddingWriter,
  openNamesWriter,
} from "../output/embedding_writer.ts";
import { checkEmbedInputs } from "../flags/inputs.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { runOnRanks } from "../terminal/ranked_main.ts";

type Run = EmbedCommand & { help: undefined };

type Options = Awaited<ReturnType<typeof checkEmbedInputs>>;
type Plan = Extract<EmbedEvent, { type: "plan" }>;

/**
 * Embeds, and hands rows to writers; what a writer throws ends the run. The run looks for the images itself: in those that
 * are found already, a class that is named as a split would be taken for one.
 */
async function embedInto(
  writers: readonly EmbeddingWriter[],
  options: Options,
  { data, split }: Run["request"],
  progress: CountProgress,
  settings: RankedSettings,
): Promise<EmbeddingResult & { plan: Plan }> {
  const { encoder, dimension: _, ...shape } = options;
  if (!("path" in encoder)) throw new TypeError("expected the encoder of a checkpoint");
  const { path: pretrained, arch, which, weights } = encoder;
  const chosen = { pretrained, ...chosenEncoder(arch!), which, weights };
  await using run = embed({ ...chosen, ...shape, data, split }, settings);
  let plan: Plan | undefined;
  let done = 0;
  for await (const event of run) {
    switch (event.type) {
      case "plan":
        plan = event;
        break;
      case "rows":
        for (const writer of writers) writer.add(event);
        progress.update(done += event.rows.length, plan?.images);
        break;
      case "note":
        if ((settings.ranks?.rank ?? 0) > 0) break; // the first rank says it
        /* falls through */
      case "warning":
        progress.warn(`${event.type}: ${event.text}`);
    }
  }
  for (const writer of writers) writer.finish();
  return { ...await run.result, plan: plan! };
}

/** Writes the file of embeddings and, for a `.npy`, the names; without a file it only embeds. */
async function run(
  { file, request }: Run,
  options: Options,
  progress: CountProgress,
  settings: RankedSettings,
): ReturnType<typeof embedInto> {
  if (file === null) return await embedInto([], options, request, progress, settings);
  let result: Awaited<ReturnType<typeof embedInto>> | undefined;
  const paths = file.format === ".npy" ? [namesPath(file.path), file.path] : [file.path];
  await replaceFiles(paths, async (files) => {
    const writer = openEmbeddingWriter(files.at(-1)!, file.format, options.dimension);
    const others = file.format === ".npy" ? [openNamesWriter(files[0])] : [];
    result = await embedInto([writer, ...others], options, request, progress, settings);
  });
  return result!;
}

/** A line for each query and its nearest neighbours, by name. */
async function describeNeighbours(
  { data, maxPixels }: { data: string; maxPixels?: number },
  sheet: string,
  found: readonly Neighbours[],
): Promise<string[]> {
  using dataset = await openDataset(data);
  const png = await contactSheet(dataset, found, { maxPixels });
  await replaceFile(sheet, (file) => Promise.resolve(writeAll(file, png)));
  const lines = found.map(({ query, rows, similarities }) => {
    const [asked, ...others] = dataset.readKeys([query, ...rows.slice(0, 3)]);
    const near = others.map((name, i) => `${name} (${similarities[i].toFixed(3)})`);
    return `  ${asked}: ${near.join(", ")}${rows.length > 3 ? ", ..." : ""}`;
  });
  return [`sheet      ${sheet}`, ...lines];
}

/** Embeds as one of the ranks that write nothing. */
async function follow({ request }: Run, { settings: ranks }: World): Promise<void> {
  const options = await checkEmbedInputs(request);
  using interrupt = interruptSignal(() => {});
  using progress = new CountProgress({ doing: "embedded", quiet: true });
  await embedInto([], options, request, progress, { signal: interrupt.signal, ranks });
}

/** Does what the command line says, as one of the ranks where there are several; returns the exit code, nothing for 0. */
export async function main(world?: World): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseEmbedFlags(Deno.args, { encoders: encoderNames() });
  if (command.help !== undefined) return console.log(command.help);
  if (world !== undefined && world.rank > 0) return await follow(command, world);
  const { file, sheet, force } = command;
  const files = file === null ? [] : [file.path, ...file.format === ".npy" ? [namesPath(file.path)] : []];
  const written = [...files, ...sheet === null ? [] : [sheet]];
  await requireNew(written, force);
  for (const path of written) await requireWritable(path);
  const options = await checkEmbedInputs(command.request);
  const adapter = await describeAdapter();
  using interrupt = interruptSignal(undefined, world?.stopped);
  const started = performance.now();
  let result: Awaited<ReturnType<typeof run>>;
  {
    using progress = new CountProgress({ doing: "embedded", quiet: command.quiet });
    result = await run(command, options, progress, { signal: interrupt.signal, ranks: world?.settings });
  }
  const seconds = (performance.now() - started) / 1000;
  const kind = options.part === "backbone" ? "pooled features" : "normalised embeddings";
  const arch = "arch" in options.encoder ? options.encoder.arch : "";
  console.log(`adapter    ${adapter.name}`);
  console.log(`encoder    ${arch}, ${options.dimension}-d ${kind}`);
  console.log(`images     ${result.images} from ${options.data}, in ${formatDuration(seconds)}`);
  console.log(`views      ${describeEvaluationResize(result.plan.evalResize, result.plan.imageSize)}`);
  for (const path of files) console.log(`file       ${path}`);
  if (sheet === null) return;
  if (result.neighbours.length === 0) {
    throw new UserError(
      `${options.data}: expected query images for --neighbours, but all that were chosen are broken`,
    );
  }
  for (const line of await describeNeighbours(options, sheet, result.neighbours)) console.log(line);
}

if (import.meta.main) await runOnRanks(main, { stop: "at once" });
