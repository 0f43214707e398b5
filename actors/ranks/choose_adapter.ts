/** The adapter of each rank of a machine, where it is told by the environment. */
import { UserError } from "../../errors.ts";
import { identifyAdapter } from "../../kernels/gpu.ts";
import { type LaunchedProcess, readVariable } from "./launcher.ts";

/** Lists adapters as `VENDOR:DEVICE` in hexadecimal, by the ranks' numbers on their machine: `10de:2330,1002:744c`. */
export const ADAPTERS_VARIABLE = "SEED_ADAPTERS";

/** What Mesa's Vulkan layer chooses by; with `!` it shows no other device. Layers read it at the first request for an adapter. */
const LAYER_VARIABLE = "MESA_VK_DEVICE_SELECT";

/**
 * Chooses this rank's adapter by {@linkcode ADAPTERS_VARIABLE}, before the first one is asked for; without it, nothing is chosen.
 *
 * @param get a variable of the environment
 * @throws {UserError} where the list does not fit, and where the system gives another adapter
 */
export async function chooseAdapter(
  { launcher, localRank }: Pick<LaunchedProcess, "launcher" | "localRank">,
  get: (name: string) => string | undefined = readVariable,
): Promise<void> {
  const list = get(ADAPTERS_VARIABLE);
  if (list === undefined || list === "") return;
  const entries = list.toLowerCase().split(",").map((entry) => entry.trim());
  const odd = entries.find((entry) => !/^[0-9a-f]+:[0-9a-f]+$/.test(entry));
  if (odd !== undefined) {
    throw new UserError(`${ADAPTERS_VARIABLE}: expected VENDOR:DEVICE in hexadecimal, found "${odd}"`);
  }
  if (localRank === undefined) {
    throw new UserError(
      `${ADAPTERS_VARIABLE}: ${launcher} does not say which rank of its machine a process is`,
    );
  }
  if (localRank >= entries.length) {
    throw new UserError(
      `${ADAPTERS_VARIABLE} lists ${entries.length} of the adapters of this machine, but it has a rank ${localRank}, from 0`,
    );
  }
  const wanted = entries[localRank].split(":").map((number) => parseInt(number, 16).toString(16)).join(":");
  Deno.env.set(LAYER_VARIABLE, `${wanted}!`);
  const { id, name } = await identifyAdapter();
  if (id === wanted) return;
  throw new UserError(
    `${ADAPTERS_VARIABLE}: rank ${localRank} of this machine is to have ${wanted}, but the system gives ${id} (${name}). There is ` +
      `no such device, or no layer VK_LAYER_MESA_device_select; ${LAYER_VARIABLE}=list lists what it knows`,
  );
}
