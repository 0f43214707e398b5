/** `deno task ui`: shows runs on a page until Ctrl-C. The page itself is in `ui/`. */
import { servePage } from "../../ui/server.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { checkRunFolders, newestRun } from "../output/run_folders.ts";
import { runMain } from "../terminal/run_main.ts";
import { parseUiFlags, usualOutput } from "../flags/ui_flags.ts";

async function main(): Promise<void> {
  const command = parseUiFlags(Deno.args);
  if (command.help !== undefined) return console.log(command.help);
  const folders = command.folders.length > 0 ? command.folders : [await newestRun(usualOutput())];
  await checkRunFolders(folders);
  const { promise: interrupted, resolve } = Promise.withResolvers<void>();
  using interrupt = interruptSignal(() => {});
  interrupt.signal.addEventListener("abort", () => resolve());
  await using page = await servePage(folders, command);
  for (const folder of folders) console.log(`run       ${folder}`);
  console.log(`page      ${page.url}     (Ctrl-C ends it)`);
  if (page.warning !== undefined) console.error(`warning: ${page.warning}`);
  await interrupted;
}

if (import.meta.main) await runMain(main);
