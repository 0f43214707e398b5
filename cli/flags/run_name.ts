/** Names of runs, and of the folders that they write to. */

/** `distill-20251125-014512`: what it does and when it was started, in UTC. */
export function runName(command: string, now: Date): string {
  const time = now.toISOString().replace(/\..*/, "").replace(/[-:]/g, "").replace("T", "-");
  return `${command}-${time}`;
}
