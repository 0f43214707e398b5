/** Commands that several processes run together: who speaks, and how all of them end. */
import { chooseAdapter } from "../../actors/ranks/choose_adapter.ts";
import { readVariable } from "../../actors/ranks/launcher.ts";
import { abandonJob } from "../../actors/ranks/mpi.ts";
import { StoppedByRank } from "../../actors/ranks/ranks.ts";
import { joinWorld, type World } from "../../actors/ranks/world.ts";
import { asInterrupted, Interrupted, outliveSignals } from "./interrupt.ts";
import { reportError, runMain } from "./run_main.ts";

/** How long the others leave it to the first rank to say what is wrong with all of them, in ms. */
const FIRST_RANK_MS = 2000;

/** How long the launcher is given to read what was said, before it is told to end all: MPICH's loses the rest. */
const READ_MS = 200;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** How long a rank that a signal stops leaves it to the first one, which it tells, to save what there is and to end all, in ms. */
const SAVING_MS = 30_000;

/**
 * How long a rank that fails after a step leaves it to the first one to find out, to save and to end all, in ms: one that waits for
 * a rank that has ended gives it up after 30 s.
 */
const FAILING_MS = 45_000;

/** How long the first rank may take to answer, where it can: it asks more often, but may compute meanwhile, in ms. */
const ANSWER_MS = 3000;

/** How ranks end where a signal stops them. */
export interface RankedOptions {
  /**
   * `together`: a signal to one of them is told to all, which end at the same step, in good order; this is left to the command.
   * `at once`: the first one, which others tell, ends all when it has saved what it has.
   * A function is asked when a signal has come.
   */
  stop?: RankedStop | (() => RankedStop);
}

/** See {@linkcode RankedOptions.stop}. */
export type RankedStop = "together" | "at once";

/** Lets a rank beside the first one speak of what is wrong, with its name in front. */
function speakAs(world: World): void {
  const error = console.error.bind(console);
  console.log = console.info = () => {};
  console.error = console.warn = (...args: unknown[]) =>
    error(`${world.name}: ${args.map(String).join(" ").replaceAll("\n", `\n${world.name}: `)}`);
}

/** Joins the other ranks. Where that fails, all are ended, as some launchers would have those that have joined wait for ever. */
async function join(): Promise<World | undefined> {
  try {
    return joinWorld();
  } catch (error) {
    const channel = readVariable("PMI_FD");
    if (channel === undefined) throw error;
    const { text, code } = reportError(error);
    console.error(text);
    await sleep(READ_MS);
    abandonJob(Number(channel), code);
    Deno.exit(code);
  }
}

/**
 * Returns a command that is one of several ranks where a launcher started it. All end together: in good order when every rank has
 * come to its end. Where one fails after a step, the first one ends all when it has saved what it has; else that rank does.
 */
export function onRanks(
  main: (world: World | undefined) => Promise<number | void>,
  { stop = "together" }: RankedOptions = {},
): () => Promise<number | void> {
  return async () => {
    const world = await join();
    if (world === undefined) return await main(undefined);
    const endsAtOnce = () => (typeof stop === "string" ? stop : stop()) === "at once";
    if (world.rank > 0) speakAs(world);
    else world.hearStops(endsAtOnce);
    let code: number | void;
    let isStoppedElsewhere = false;
    try {
      await world.findNeighbours();
      await chooseAdapter(world.launched);
      code = await main(world);
    } catch (caught) {
      const error = asInterrupted(caught);
      const report = reportError(error);
      const isStopped = error instanceof Interrupted;
      if (!isStopped || endsAtOnce()) {
        if (world.rank > 0 && isStopped) await world.endByFirst(report.code, SAVING_MS);
        else if (world.rank > 0) await sleep(FIRST_RANK_MS);
        console.error(report.text);
        if (world.rank > 0 && !isStopped && world.hasStepped) {
          await world.endByFirst(report.code, FAILING_MS, ANSWER_MS);
        } else await sleep(READ_MS);
        world.abort(report.code);
      }
      if (world.rank === 0) console.error(report.text);
      code = report.code;
      isStoppedElsewhere = caught instanceof StoppedByRank;
    }
    // The launcher ends all where a signal ends one, and the first rank may still write, or evaluate: it stops by its own signal.
    if (world.rank > 0) outliveSignals();
    try {
      const most = await world.leave(isStoppedElsewhere ? 0 : code ?? 0);
      if (isStoppedElsewhere && most > 0) return most;
    } catch (error) {
      console.error(reportError(error).text);
      world.abort(1);
    }
    return code;
  };
}

/** Runs a command as one of several ranks where a launcher started it; see {@linkcode runMain}. */
export async function runOnRanks(
  main: (world: World | undefined) => Promise<number | void>,
  options?: RankedOptions,
): Promise<void> {
  await runMain(onRanks(main, options), { ranks: "all" });
}
