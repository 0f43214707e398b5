/**
 * What a method is: a way to train or to evaluate by training, in a folder of its own. A method's folder has
 *
 * - `options.ts` and `defaults.ts`: what it can be told, for the library and the command line alike;
 * - `flags.ts`: the same as flags;
 * - `step.ts`: the graph of its step: inputs, loss, what is enqueued or averaged;
 * - `checkpoint.ts`, `terms.ts`: what its checkpoints hold, and what tells one of its runs from another;
 * - `messages.ts`, `events.ts`: what its actors tell each other, and what a run tells;
 * - `pipeline.ts` and its own actors: which there are, and how they are wired;
 * - `run.ts`: what is asked of them in which order;
 * - in place of the last two, if it trains a whole encoder, `encoder_method.ts`: what `encoder_training/` needs to know;
 * - `mod.ts`: all of that as one {@linkcode Method}, for the registry.
 */
import { type ActorModules, type ActorRole, checkActorModules } from "../actors/catalog.ts";
import type { Emit, NoticeEvent } from "../actors/events.ts";
import { checkPlugins, importPlugins } from "../actors/plugins.ts";
import { checkNames, checkOptions, type FlagTable } from "./flag_table.ts";
import { explainPermissions, given, type Needs } from "./permissions.ts";
import type { RankSettings } from "../actors/ranks/ranks.ts";
import { Run, type RunSettings } from "../actors/run.ts";
import { StoppedError } from "../actors/stopped_error.ts";
import { FolderLostError } from "../data/folder_identity.ts";
import { type FolderLock, RELAUNCH_PATIENCE_MS } from "../data/folder_lock.ts";
import { openCheckpointFile } from "../models/checkpoint/checkpoint_file.ts";
import { removeLeftovers } from "../models/checkpoint/run_checkpoints.ts";
import { makeFolder, removeMadeFolders, takeOutputFolder } from "./output_folder.ts";
import { UserError } from "../errors.ts";
import { findCheckpointToResume } from "./resume_auto.ts";
import { withoutUnset } from "./without_unset.ts";

/** {@linkcode RunSettings} of a run that several processes may share. */
export interface RankedSettings extends RunSettings {
  /**
   * The part of this process in a run of several, which the first one writes the files of. If omitted, it runs alone. A training that
   * is stopped before it begins takes its first step all the same: the others end with it.
   */
  ranks?: RankSettings;
}

/** {@linkcode RunSettings} of a run that writes to a folder. */
export interface OutputSettings extends RankedSettings {
  /** The caller's lock on the output folder, from `takeOutputFolder()`. If omitted, the run takes the lock itself. */
  lock?: FolderLock;
}

/** Options that every method has. */
export interface MethodOptions {
  /** Folder that the run writes to; it must not hold another run. */
  output: string;
  /**
   * Checkpoint to resume from, or `null`. The run may write to the folder of that checkpoint. `auto` is the newest one in
   * `output`, or a new run if there is none; {@linkcode Method.run} gets what was found.
   */
  resume: string | null;
}

/**
 * A way to train or to evaluate an encoder.
 *
 * @template Input the options that a caller passes; the others have defaults
 * @template Options all options, resolved
 * @template Settings settings of one run, besides its options
 */
export interface Method<
  Input extends { plugins?: string[] },
  Options extends MethodOptions,
  Event,
  Result,
  Settings extends OutputSettings = OutputSettings,
> {
  /** Description of one line. */
  readonly description: string;
  /** URL of the method's folder, which has the modules of its own actors. */
  readonly folder: string;
  /** Names of the method's own actors. */
  readonly actors: readonly ActorRole[];
  /** Names of the options that are paths and have no default. */
  readonly required: readonly (keyof Input & string)[];
  /** Names of the options for which `null` says something else than that they are left out. */
  readonly nullable?: readonly (keyof Input & string)[];
  /** Names of the options that no flag has. */
  readonly unflagged: readonly (keyof Input & string)[];
  /**
   * Returns the command-line flags that have the names of options, which are checked against them too. Called after plugins are
   * imported.
   */
  flags(): FlagTable;
  /** Returns the input with all omitted options filled in: from the files where they specify them, else with defaults. */
  resolve(input: Input, emit: Emit<Event>): Promise<Options>;
  /** Returns the permissions that `deno run` must grant. */
  needs(input: Input): Needs;
  /** Throws a `CheckpointError` if a run cannot resume from a checkpoint: it is of another kind, or not finite. */
  checkResume(checkpoint: string): Promise<void>;
  /**
   * Returns whether several ranks that are stopped end at the same step. So one that is stopped before it begins has to begin: the
   * others are told by what all exchange. If omitted, none of its runs does.
   */
  endsTogether?(input: Input): boolean;
  /** Runs the method to its end. When the signal aborts, it saves a checkpoint and rejects with a `StoppedError`. */
  run(options: Options, emit: Emit<Event>, signal: AbortSignal, settings: Settings): Promise<Result>;
}

/** What a {@linkcode Run} does. */
type Work<Event, Result> = (tell: (event: Event) => Promise<void>, signal: AbortSignal) => Promise<Result>;

/**
 * Returns the work of any run: the plugins are imported before it, and a missing permission is said with all it needs. Plugins and
 * actors that are not named by absolute URLs are a {@linkcode UserError}.
 */
export function withPlugins<Event, Result>(
  { plugins = [], actors = {} }: { plugins?: string[]; actors?: ActorModules },
  needs: () => Needs,
  work: Work<Event, Result>,
): Work<Event, Result> {
  return (tell, signal) =>
    explainPermissions({
      needs: () => ({ ...needs(), plugins: [...plugins, ...given(...Object.values(actors))] }),
      async work() {
        checkPlugins(plugins);
        checkActorModules(actors);
        await importPlugins(plugins);
        return await work(tell, signal);
      },
    });
}

/** Starts a run of a method, in its output folder. */
export function startMethod<
  Input extends { plugins?: string[]; actors?: ActorModules; resume?: string | null },
  Options extends MethodOptions,
  Event,
  Result,
  Settings extends OutputSettings,
>(
  method: Method<Input, Options, Event, Result, Settings>,
  asked: Input,
  settings: Settings,
): Run<Event, Result> {
  const input = withoutUnset(asked, method.nullable);
  const work: Work<Event, Result> = async (tell, signal) => {
    const table = method.flags();
    checkNames(table, method.unflagged, input);
    checkOptions(table, input, method.required);
    const options = await method.resolve(input, tell);
    if (settings.ranks !== undefined && options.resume === "auto") {
      throw new UserError(
        "resume: expected a checkpoint's path or null, as all ranks must resume from the same; found auto",
      );
    }
    // All files are the first rank's.
    if ((settings.ranks?.rank ?? 0) > 0) return await method.run(options, tell, signal, settings);
    return await inOutputFolder(
      options,
      settings,
      signal,
      async (signal) => {
        const resume = await findResume(method, options, tell as Emit<unknown>); // all methods' events have notices
        return await method.run({ ...options, resume }, tell, signal, settings);
      },
    );
  };
  const { resume } = input;
  const begins = settings.ranks !== undefined && (method.endsTogether?.(input) ?? false);
  return new Run(
    withPlugins(input, () => method.needs(input), work),
    settings,
    begins ? null : (reason) => new StoppedError(reason, resume === "auto" ? null : resume ?? null),
  );
}

/** The checkpoint that a run goes on from, where `resume` leaves it to the folder. */
async function findResume(
  method: { checkResume(checkpoint: string): Promise<void> },
  { output, resume }: MethodOptions,
  tell: Emit<NoticeEvent>,
): Promise<string | null> {
  if (resume !== "auto") return resume;
  await removeLeftovers(output);
  const found = await findCheckpointToResume(
    output,
    method,
    (text) => tell({ type: "warning", text }),
  );
  if (found !== null) tell({ type: "note", text: `resumes from ${found}` });
  return found;
}

/**
 * Makes the output folder, where the checkpoint to resume from is there, and does the work of a run that writes to it: no other
 * run may, and the run ends as soon as the folder is removed, moved or replaced. Folders that were made for a run that fails before
 * it writes anything are removed.
 *
 * @throws {UserError} where the folder holds another run, or there is no such checkpoint
 * @throws {FolderLostError}
 */
async function inOutputFolder<T>(
  { output, resume }: MethodOptions,
  { lock: caller, ranks }: OutputSettings,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const workIn = async ({ identity }: FolderLock) => {
    using lost = identity.watch();
    const result = await work(AbortSignal.any([signal, lost.signal]));
    identity.check();
    return result;
  };
  if (caller !== undefined) return await workIn(caller);
  if (resume !== null && resume !== "auto") (await openCheckpointFile(resume))[Symbol.dispose]();
  const made = makeFolder(output);
  try {
    using lock = takeOutputFolder(output, resume, ranks && RELAUNCH_PATIENCE_MS);
    return await workIn(lock);
  } catch (error) {
    // What is in its place if it is lost is somebody else's.
    if (!(error instanceof FolderLostError)) removeMadeFolders(made); // where they are empty
    throw error;
  }
}
