/** A command of two ranks. The work of the second one is done when a signal comes to it; the first one has something left to write. */
import { interruptSignal } from "../../../cli/terminal/interrupt.ts";
import { runOnRanks } from "../../../cli/terminal/ranked_main.ts";

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

await runOnRanks(async (world) => {
  using _ = interruptSignal(() => {});
  const [, second] = await world!.gather(`${Deno.pid}`);
  if (world!.rank > 0) return;
  await sleep(1000); // the second one has come to its end
  for (const signal of ["SIGTERM", "SIGUSR2"] as const) Deno.kill(Number(second), signal);
  await sleep(1000); // a launcher would have ended this one
  console.log("written");
});
