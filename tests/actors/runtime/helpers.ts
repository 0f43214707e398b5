/** Small things that several tests need. */
import { ActorSystem, type SystemOptions } from "../../../actors/runtime/mod.ts";

/** URL of a fixture. */
export function fixture(name: string): URL {
  return new URL(`./fixtures/${name}`, import.meta.url);
}

/** Runs `work` with a system of its own, which is stopped when the work is done. */
export function withSystem<T>(
  work: (system: ActorSystem) => Promise<T>,
  options?: SystemOptions,
): Promise<T> {
  const system = new ActorSystem(options);
  return system.run(() => work(system));
}

/** Resolves after so many milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits until something holds, and fails when it does not in a time that no machine needs. */
export async function until(condition: () => boolean | Promise<boolean>, ms = 120_000): Promise<void> {
  for (const end = performance.now() + ms; !(await condition());) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${condition}`);
    await sleep(5);
  }
}
