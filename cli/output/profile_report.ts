/** What `--profile` shows after a run, and the file that it writes. */
import { join } from "node:path";
import { chromeTrace, type RunProfile, sharesOf } from "../../actors/run_profile.ts";
import { replaceTextFile } from "../../data/replace_file.ts";
import type { KernelTime } from "../../kernels/profiler.ts";
import { formatTable } from "../terminal/table.ts";

/** Kernels of a program that are shown by name; the rest are one line. */
const SHOWN_KERNELS = 16;

/** The file in the output folder. */
const FILE = "profile.json";

/** Writes the trace into the output folder, and says where it is. */
export async function writeTrace(output: string, profile: RunProfile, file: string = FILE): Promise<string> {
  const path = join(output, file);
  await replaceTextFile(path, JSON.stringify(chromeTrace(profile)));
  return path;
}

/** The tables: each actor's time between the first and the last step, then each program's kernels. */
export function describeProfile(profile: RunProfile, clock: { actor: string; message: string }): string[] {
  const shares = sharesOf(profile, clock);
  const percent = (part: number, whole: number) => `${(100 * part / whole).toFixed(1)} %`;
  const actors = formatTable([
    ["actor", "busy", "waiting", "idle", "messages", "busy ms per message"],
    ...shares.map(({ actor, messages, busyMs, waitingMs, totalMs }) => [
      actor,
      percent(busyMs, totalMs),
      percent(waitingMs, totalMs),
      percent(Math.max(0, totalMs - busyMs - waitingMs), totalMs),
      String(messages),
      messages === 0 ? "" : (busyMs / messages).toFixed(2),
    ]),
  ]);
  return [
    actors,
    ...profile.programs.map(({ actor, program, kernels }) => kernelTable(`${actor}, ${program}`, kernels)),
  ];
}

function kernelTable(title: string, times: readonly KernelTime[]): string {
  const byLabel = Map.groupBy(times, ({ label }) => label);
  const sum = (list: readonly KernelTime[]) =>
    list.reduce((total, { milliseconds, flops, bytes }) => ({
      count: total.count + 1,
      ms: total.ms + milliseconds,
      flops: total.flops + flops,
      bytes: total.bytes + bytes,
    }), { count: 0, ms: 0, flops: 0, bytes: 0 });
  const all = sum(times);
  const kernels = [...byLabel].sort(([, a], [, b]) => sum(b).ms - sum(a).ms);
  const row = (name: string, list: readonly KernelTime[]) => {
    const { count, ms, flops, bytes } = sum(list);
    // Operations or bytes in 10^9 a second.
    const rate = (amount: number) => amount === 0 || ms === 0 ? "" : (amount / ms / 1e6).toFixed(1);
    const share = all.ms === 0 ? "" : `${(100 * ms / all.ms).toFixed(1)} %`;
    return [name, String(count), ms.toFixed(2), share, rate(flops), rate(bytes)];
  };
  const rest = kernels.slice(SHOWN_KERNELS).flatMap(([, list]) => list);
  return formatTable([
    [title, "dispatches", "ms", "share", "GFLOP/s", "GB/s"],
    ...kernels.slice(0, SHOWN_KERNELS).map(([label, list]) => row(label, list)),
    ...rest.length === 0 ? [] : [row(`${kernels.length - SHOWN_KERNELS} more`, rest)],
    row("all", times),
  ]);
}
