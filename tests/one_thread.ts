/**
 * Actors of tests share one thread and one device, so that kernels are compiled once a file and not once an actor. Tests of what
 * only Workers do say so by `setOneThread(false)`, and with `SEED_ONE_THREAD=0`, as `deno task test:long` has it, all have Workers.
 */
import { setOneThread } from "../actors/one_thread.ts";

const isOne = Deno.env.get("SEED_ONE_THREAD") !== "0";

setOneThread(isOne);

/** Environment of programs that tests start, where what they do in Workers is not what is tested. */
export const ONE_THREAD: Record<string, string> = { SEED_ONE_THREAD: isOne ? "1" : "0" };

/** Environment of programs whose actors have Workers, as a user's have. */
export const WORKERS: Record<string, string> = { SEED_ONE_THREAD: "0" };

/** Flags of `deno run` and `deno test` for programs that use the library, likewise: they load this file before themselves. */
export const LIBRARY_ON_ONE_THREAD: string[] = isOne ? [`--preload=${import.meta.filename}`] : [];
