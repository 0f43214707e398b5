/**
 * How many threads a software adapter computes with.
 *
 * Mesa's llvmpipe has a thread for each processor, wakes all of them for every dispatch and waits for all: some 40 us, as long as a
 * small kernel takes. Where several devices compute at once, each on a thread of its own, the processors are busy without that. A
 * step of the demo then takes 0.8 times as long (two processors, a ResNet-18 beside a MobileNetV3-Small).
 */
import { isOneDevice } from "./gpu.ts";

/** Mesa's variable; drivers of GPUs do not read it. It is looked at when an adapter is requested. */
const VARIABLE = "LP_NUM_THREADS";

/** Those who have divided the processors, and not given them back yet. */
let users = 0;

/** Whether this process may set the variable; a library may have been given fewer permissions. */
function isAllowed(): boolean {
  return Deno.permissions.querySync({ name: "env", variable: VARIABLE }).state === "granted";
}

/**
 * Divides the processors between the devices that threads open from now on, until it is disposed of. Where the user has said how many
 * threads there are, or where actors share one device, nothing is changed.
 *
 * @param devices how many compute at once
 */
export function divideProcessors(devices: number): Disposable {
  const division = new DisposableStack();
  if (devices < 2 || isOneDevice() || !isAllowed()) return division;
  if (users === 0) {
    if (Deno.env.get(VARIABLE) !== undefined) return division;
    // The first says how many; 0 computes on the thread that submits.
    const threads = Math.floor(navigator.hardwareConcurrency / devices);
    Deno.env.set(VARIABLE, String(threads > 1 ? threads : 0));
  }
  users++;
  division.defer(() => {
    if (--users === 0) Deno.env.delete(VARIABLE);
  });
  return division;
}
