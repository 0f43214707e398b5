/** Commands that several processes run together: who speaks, and how all of them end. */
import { StoppedByRank } from "../../actors/ranks/ranks.ts";
import { joinWorld, type World } from "../../actors/ranks/world.ts";
import { Interrupted } from "./interrupt.ts";
import { reportError } from "./run_main.ts";

/** How long the others leave it to the first rank to say what is wrong with all of them, in ms. */
const FIRST_RANK_MS = 2000;

/** How long the launcher is given to read what was said, before it is told to end all: MPICH's loses the rest. */
const READ_MS = 200;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Lets a rank beside the first one speak of what is wrong, with its number in front. */
function speakAsRank(rank: number): void {
  const error = console.error.bind(console);
  console.log = console.info = () => {};
  console.error = console.warn = (...args: unknown[]) =>
    error(`rank ${rank}: ${args.map(String).join(" ").replaceAll("\n", `\nrank ${rank}: `)}`);
}

/**
 * Returns a command that is one of several ranks where a launcher started it. All end together: in good order when every rank has
 * come to its end, or at once where one fails.
 */
export function onRanks(
  main: (world: World | undefined) => Promise<number | void>,
): () => Promise<number | void> {
  return async () => {
    const world = joinWorld();
    if (world === undefined) return await main(undefined);
    if (world.rank > 0) speakAsRank(world.rank);
    let code: number | void;
    try {
      code = await main(world);
    } catch (caught) {
      const error = caught instanceof StoppedByRank ? new Interrupted() : caught;
      const report = reportError(error);
      if (!(error instanceof Interrupted)) {
        if (world.rank > 0) await sleep(FIRST_RANK_MS);
        console.error(report.text);
        await sleep(READ_MS);
        world.abort(report.code);
      }
      if (world.rank === 0) console.error(report.text);
      code = report.code;
    }
    await world.leave();
    return code;
  };
}
