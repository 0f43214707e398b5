/**
 * A command of two ranks. The second one fails. With `together` the first one fails by itself, with `at once` since it is told; then it
 * has something left to write.
 */
import { UserError } from "../../../errors.ts";
import { interruptSignal } from "../../../cli/terminal/interrupt.ts";
import { type RankedStop, runOnRanks } from "../../../cli/terminal/ranked_main.ts";

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

await runOnRanks(async (world) => {
  using interrupt = interruptSignal(() => {}, world!.stopped);
  const { signal } = interrupt;
  const problem = new UserError("the loss is NaN");
  world!.hasStepped = true;
  if (world!.rank > 0) throw problem;
  if (Deno.args[0] === "at once") {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  }
  await sleep(4000); // longer than an error of all is left to the first rank alone
  console.log("written");
  throw signal.aborted ? signal.reason : problem;
}, { stop: Deno.args[0] as RankedStop });
