/** The processes of a job that run a command together, as PyTorch's process group: this one's part, and what all agree on. */
import { UserError } from "../../errors.ts";
import { type LaunchedProcess, LIBRARY_VARIABLE, readLauncher, readVariable } from "./launcher.ts";
import { BEAT_TAG, LEAVE_TAG, loadMpi, type Mpi, type MpiRequest, STOP_TAG } from "./mpi.ts";
import { nameRanks, type Ranks, type RankSettings, StoppedByRank } from "./ranks.ts";

/** How long the first rank waits for the others at the end, in ms. */
const LAST_MS = 60_000;

/** How often a process asks whether the others have come, in ms: what it waits for takes seconds. */
const POLL_MS = 5;

/** How often the first rank asks whether another one was stopped, in ms. */
const HEAR_MS = 200;

/** Exit codes above it are those of signals. */
const LAST_FAILURE = 128;

/** The job that a launcher started, which this process has joined. */
export class World implements Ranks {
  readonly rank: number;
  readonly size: number;
  readonly launched: LaunchedProcess;
  /** Whether a run of this process has come to a step: where it fails, the first process has something to save. */
  hasStepped = false;
  readonly #mpi: Mpi;
  readonly #stopped = new AbortController();
  /** Kept while they are under way. */
  readonly #answers: MpiRequest[] = [];
  #hearing: ReturnType<typeof setInterval> | undefined;
  #onMachine = 1;
  #name: string;

  /** @throws {UserError} where the library of MPI is not the launcher's */
  constructor(launched: LaunchedProcess, mpi: Mpi) {
    mpi.join();
    this.#mpi = mpi;
    this.launched = launched;
    this.rank = mpi.rank;
    this.size = mpi.size;
    this.#name = nameRanks([mpi.rank]);
    const { launcher, size, advice = `Use the launcher of ${mpi.family}` } = launched;
    if (this.size !== size) {
      throw new UserError(
        `${launcher} started ${size} processes, but ${mpi.path} (${mpi.version}) knows of ${this.size}: it is not the launcher's ` +
          `library. ${advice}, or name the right file in ${LIBRARY_VARIABLE}`,
      );
    }
  }

  /** The library's family, version and file. */
  get library(): { family: string; version: string; path: string } {
    const { family, version, path } = this.#mpi;
    return { family, version, path };
  }

  /** What this process is called; with its machine, when it is known that there are several. */
  get name(): string {
    return this.#name;
  }

  /** What a run is told of it. */
  get settings(): RankSettings {
    const exchange = { library: this.#mpi.path };
    return { rank: this.rank, size: this.size, exchange, onMachine: this.#onMachine };
  }

  /**
   * Aborts where another process says that it has ended, in one that hears it: with a {@linkcode StoppedByRank} where it was stopped,
   * or with a {@linkcode UserError} where it failed.
   */
  get stopped(): AbortSignal {
    return this.#stopped.signal;
  }

  /**
   * Has the first process hear from now on whether others were stopped, or have failed, and answer.
   *
   * @param isHeeded whether it is then stopped itself; else it finds out in the run
   */
  hearStops(isHeeded: () => boolean): void {
    this.#hearing = setInterval(() => {
      const all = this.#mpi.takeAll(1, STOP_TAG);
      this.#answers.push(...all.map(({ from }) => this.#mpi.send([0], from, STOP_TAG)));
      if (all.length === 0 || !isHeeded()) return;
      const { from, values: [code] } = all[0];
      this.#stopped.abort(
        code > LAST_FAILURE
          ? new StoppedByRank(from, code)
          : new UserError(`rank ${from} of the run failed; its own message says why`),
      );
    }, HEAR_MS);
  }

  /**
   * Tells the first process that this one was stopped or has failed, and waits for the end that it then makes.
   *
   * @param code the exit code of this process
   * @param withinMs how long
   * @param unheardMs how long where the first process does not answer: it has ended, or cannot be reached
   */
  async endByFirst(code: number, withinMs: number, unheardMs = withinMs): Promise<void> {
    const told = this.#mpi.send([code], 0, STOP_TAG);
    const heard = this.#mpi.receive(1, 0, STOP_TAG);
    const last = performance.now() + withinMs;
    if (!await this.#areDone([told, heard], unheardMs)) return;
    await new Promise<void>((resolve) => setTimeout(resolve, last - performance.now()));
  }

  /** Finds out how many of the processes share a machine; all of them call this. */
  async findNeighbours(): Promise<void> {
    const own = this.#mpi.machine;
    const all = await this.gather(own);
    this.#onMachine = all.filter((machine) => machine === own).length;
    if (this.#onMachine < this.size) this.#name = `${nameRanks([this.rank])} on ${own}`;
  }

  /** Waits for all processes. */
  async meet(): Promise<void> {
    await this.#done(this.#mpi.beginMax([0]));
  }

  /** Whether a request was done in time. */
  #done(request: MpiRequest, withinMs?: number): Promise<boolean> {
    return this.#areDone([request], withinMs);
  }

  /** Whether requests were done in time. */
  async #areDone(requests: readonly MpiRequest[], withinMs = Infinity): Promise<boolean> {
    const last = performance.now() + withinMs;
    while (!requests.every((request) => request.test())) {
      if (performance.now() > last) return false;
      await new Promise<void>((resolve) => setTimeout(resolve, POLL_MS));
    }
    return true;
  }

  /**
   * Has the first process find something out, and tells all.
   *
   * @param make what it does; its result must be fit for JSON
   */
  async share<T>(make: () => T | Promise<T>): Promise<T> {
    const text = this.rank === 0 ? JSON.stringify([await make()]) : "";
    const bytes = new TextEncoder().encode(text);
    const request = this.#mpi.beginMax([bytes.length]);
    await this.#done(request);
    const shared = new Uint8Array(request.data[0]);
    shared.set(bytes);
    await this.#mpi.broadcast(shared);
    const [made] = JSON.parse(new TextDecoder().decode(shared));
    return made ?? undefined;
  }

  /** Tells all processes what each of them says. */
  async gather(text: string): Promise<string[]> {
    const own = new TextEncoder().encode(text);
    const request = this.#mpi.beginMax([own.length]);
    await this.#done(request);
    const [length] = request.data;
    const padded = new Uint8Array(length);
    padded.set(own);
    const all = await this.#mpi.gather(padded);
    return Array.from(
      { length: this.size },
      (_, rank) =>
        new TextDecoder().decode(all.subarray(rank * length, (rank + 1) * length)).replace(/\0+$/, ""),
    );
  }

  /**
   * Leaves in good order, when all have come to this. The first rank comes last, as it evaluates and reports when the others are done:
   * those that do not come soon then never will.
   *
   * @param code the exit code of this process; 0 where that of another one is to be its own
   * @returns the largest one of all
   * @throws {UserError} in the first rank, where others do not come
   */
  async leave(code: number = 0): Promise<number> {
    const most = await this.#haveAllLeft(code);
    if (most === undefined) {
      const within = `within ${LAST_MS / 1000} s of the first one's`;
      throw new UserError(`not all ranks came to their end ${within}; what it wrote is whole`);
    }
    clearInterval(this.#hearing);
    for (const tag of [BEAT_TAG, STOP_TAG]) this.#mpi.takeAll(1, tag); // what nobody waited for, since its receiver had ended
    this.#mpi.finalize();
    return most;
  }

  /**
   * Tells the first process that this one has come to its end, and waits until it says that all have. No call of all: that would be
   * taken for the next exchange of one that is still in the run.
   *
   * @returns the largest exit code; nothing where not all came in time
   */
  async #haveAllLeft(code: number): Promise<number | undefined> {
    const mpi = this.#mpi;
    const others = this.rank > 0 ? [0] : Array.from({ length: this.size - 1 }, (_, i) => i + 1);
    const tell = (code: number) => others.map((rank) => mpi.send([code], rank, LEAVE_TAG));
    const heard = others.map((rank) => mpi.receive(1, rank, LEAVE_TAG));
    if (this.rank > 0) {
      await this.#areDone([...tell(code), ...heard]);
      return heard[0].data[0];
    }
    if (!await this.#areDone(heard, LAST_MS)) return undefined;
    const most = Math.max(code, ...heard.map(({ data }) => data[0]));
    await this.#areDone(tell(most));
    return most;
  }

  /** Ends all processes, this one too. */
  abort(code: number): void {
    this.#mpi.abort(code);
  }
}

/**
 * Joins the job that a launcher started this process for.
 *
 * @param get a variable of the environment
 * @returns nothing where it is alone: then no library is looked for
 * @throws {UserError} where the launcher's library cannot be used
 */
export function joinWorld(get: (name: string) => string | undefined = readVariable): World | undefined {
  const launched = readLauncher(get);
  if (launched === undefined || launched.size === 1) return undefined;
  const { libraries, launcher, tells, advice, rank } = launched;
  const mpi = loadMpi(libraries);
  // The library may end the process before anything else can be said.
  if (rank === 0 && tells !== undefined && tells !== mpi.family) {
    console.error(
      `${launcher} does not tell ${mpi.family} (${mpi.path}) which tasks there are, so it may fail. ${advice}`,
    );
  }
  return new World(launched, mpi);
}
