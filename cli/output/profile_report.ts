/** What `--profile` shows after a run, and the file that it writes. */
import { join } from "node:path";
import {
  chromeTrace,
  type KernelShare,
  kernelShares,
  type RunProfile,
  sharesOf,
  worstKernels,
} from "../../actors/run_profile.ts";
import { replaceTextFile } from "../../data/replace_file.ts";
import type { Ceilings } from "../../kernels/ceilings.ts";
import { formatTable } from "../terminal/table.ts";

/** Kernels of a program that are shown by name; the rest are one line. */
const SHOWN_KERNELS = 16;

/** The file in the output folder. */
const FILE = "profile.json";

/** What kinds of kernels have in common with a program. */
type Amounts = Omit<KernelShare, "actor" | "program" | "label">;

/** Part of a whole; nothing of nothing. */
function percent(part: number, whole: number): string {
  return whole === 0 ? "" : `${(100 * part / whole).toFixed(1)} %`;
}

/** Writes the trace into the output folder, and says where it is. */
export async function writeTrace(output: string, profile: RunProfile, file: string = FILE): Promise<string> {
  const path = join(output, file);
  await replaceTextFile(path, JSON.stringify(chromeTrace(profile)));
  return path;
}

/**
 * The tables: each actor's time between the first and the last step, each program's kernels, and the three that are furthest
 * from what the adapter does at most.
 */
export function describeProfile(profile: RunProfile, clock: { actor: string; message: string }): string[] {
  const shares = sharesOf(profile, clock);
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
  const kernels = kernelShares(profile);
  const { ceilings } = profile;
  return [
    actors,
    ...profile.programs.map(({ actor, program }) =>
      kernelTable(
        `${actor}, ${program}`,
        kernels.filter((kernel) => kernel.actor === actor && kernel.program === program),
        ceilings,
      )
    ),
    ...ceilings === undefined ? [] : [worstTable(profile, ceilings)],
  ];
}

/** Kinds of kernels of a program: times, amounts, and the share of what the adapter does at most. */
function kernelTable(title: string, kernels: readonly KernelShare[], ceilings: Ceilings | undefined): string {
  const sum = (list: readonly KernelShare[]): Amounts =>
    list.reduce((total, kernel) => ({
      dispatches: total.dispatches + kernel.dispatches,
      milliseconds: total.milliseconds + kernel.milliseconds,
      flops: total.flops + kernel.flops,
      bytes: total.bytes + kernel.bytes,
      leastMs: total.leastMs + kernel.leastMs,
    }), { dispatches: 0, milliseconds: 0, flops: 0, bytes: 0, leastMs: 0 });
  const all = sum(kernels);
  const row = (name: string, { dispatches, milliseconds, flops, bytes, leastMs }: Amounts) => {
    // Operations or bytes in 10^9 a second.
    const rate = (amount: number) =>
      amount === 0 || milliseconds === 0 ? "" : (amount / milliseconds / 1e6).toFixed(1);
    return [
      ...[name, String(dispatches), milliseconds.toFixed(2), percent(milliseconds, all.milliseconds)],
      ...[rate(flops), rate(bytes)],
      ...ceilings === undefined ? [] : [percent(leastMs, milliseconds)],
    ];
  };
  const rest = kernels.slice(SHOWN_KERNELS);
  return formatTable([
    [title, "dispatches", "ms", "share", "GFLOP/s", "GB/s", ...ceilings === undefined ? [] : ["of peak"]],
    ...kernels.slice(0, SHOWN_KERNELS).map((kernel) => row(kernel.label, kernel)),
    ...rest.length === 0 ? [] : [row(`${rest.length} more`, sum(rest))],
    row("all", all),
  ]);
}

/** The kernels that are furthest from what the adapter does at most. */
function worstTable(profile: RunProfile, { flops, bytes }: Ceilings): string {
  const rate = (amount: number) => (amount / 1e9).toFixed(1);
  const table = formatTable([
    ["furthest from the peak", "of", "ms", "at the peak", "of peak"],
    ...worstKernels(profile).map(({ label, actor, program, milliseconds, leastMs }) => [
      ...[label, `${actor}, ${program}`, milliseconds.toFixed(2), leastMs.toFixed(2)],
      percent(leastMs, milliseconds),
    ]),
  ]);
  return `peak: ${rate(flops)} GFLOP/s in float32, ${
    rate(bytes)
  } GB/s; what fits into caches may exceed it\n\n${table}`;
}
