/** `deno task knn`: flags in, accuracies out. The evaluation itself is `methods/knn.ts`. */
import type { World } from "../../actors/ranks/world.ts";
import { describeEvaluationResize } from "../../actors/evaluation_resize.ts";
import { KNN_DEFAULTS, type KnnPlan } from "../../methods/knn.ts";
import { knn } from "../../methods/runs.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { encoderNames } from "../../models/registry.ts";
import { checkKnnInputs } from "../flags/inputs.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { parseKnnFlags } from "../flags/knn_flags.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { CountProgress } from "../terminal/count_progress.ts";
import { runOnRanks } from "../terminal/ranked_main.ts";
import { countsOf } from "../terminal/progress.ts";
import { formatTable } from "../terminal/table.ts";

/** Does what the command line says, as one of the ranks where there are several; returns the exit code, nothing for 0. */
export async function main(world?: World): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseKnnFlags(Deno.args, { encoders: encoderNames() });
  if (command.help !== undefined) return console.log(command.help);
  const input = command.request; // the run looks for the images itself
  await checkKnnInputs(input);
  await describeAdapter(); // so that a missing one is said at once, and the command's end knows whether it is hardware
  const isFirst = (world?.rank ?? 0) === 0;
  using interrupt = interruptSignal(isFirst ? undefined : () => {}, world?.stopped);
  const run = knn(input, { signal: interrupt.signal, ranks: world?.settings });
  let plan: KnnPlan | undefined;
  {
    const quiet = command.json || !isFirst;
    using reading = new CountProgress({ doing: "reading the data, MiB", quiet });
    using progress = new CountProgress({ doing: "evaluated", quiet });
    for await (const event of run) {
      if (event.type === "progress") {
        (event.phase === "reading" ? reading : progress).update(...countsOf(event));
      }
      if (event.type === "warning" || (event.type === "note" && isFirst)) {
        progress.warn(`${event.type}: ${event.text}`);
      }
      if (event.type !== "plan") continue;
      plan = event;
      reading[Symbol.dispose](); // its line
      if (command.json) continue;
      const { arch, imageSize, heldOut } = event;
      console.log(`encoder   ${arch}, ${input.pretrained ?? "random weights"}`);
      console.log(
        `images    ${event.bankImages} training, ${event.queryImages} ${
          heldOut ? "with held-out labels" : "test"
        }, ${imageSize} x ${imageSize}`,
      );
      console.log(`views     ${describeEvaluationResize(event.evalResize, imageSize)}`);
    }
  }
  const accuracies = await run.result;
  const { knnK: ks, knnT: temperature } = { ...KNN_DEFAULTS, ...input };
  if (command.json) {
    const results = accuracies.map((accuracy, i) => ({ k: ks[i], ...accuracy }));
    const { arch: encoder, bankImages: bank, queryImages: queries, heldOut, imageSize, evalResize } = plan!;
    const images = { bank, queries, held_out: heldOut };
    const how = { images, image_size: imageSize, eval_resize: evalResize, temperature };
    console.log(JSON.stringify({ encoder, ...how, results }, null, 2));
    return;
  }
  const percent = (value: number) => `${value.toFixed(2)} %`;
  const rows = accuracies.map(({ top1, top5 }, i) => [`k = ${ks[i]}`, percent(top1), percent(top5)]);
  console.log();
  console.log(formatTable([["weighted kNN", "top-1", "top-5"], ...rows]));
}

if (import.meta.main) await runOnRanks(main, { stop: "at once" });
