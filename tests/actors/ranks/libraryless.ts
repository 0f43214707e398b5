/** A command of several ranks, the last of which does not find the library. */
import { readLauncher, readVariable } from "../../../actors/ranks/launcher.ts";
import { runOnRanks } from "../../../cli/terminal/ranked_main.ts";

const { rank, size } = readLauncher(readVariable)!;
if (rank === size - 1) Deno.env.set("SEED_MPI_LIBRARY", "libnothing.so");
await runOnRanks(async () => {});
