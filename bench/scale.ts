/** Training by several ranks: what the exchange of gradients costs. */
import { UserError } from "../errors.ts";
import type { Row } from "./section.ts";

/** Steps that are shared by ranks; `batch` is that of all. */
export interface ScaleWork {
  encoder: string;
  batch: number;
  imageSize: number;
}

/** What is timed: few weights, and many. */
export const SCALED: readonly ScaleWork[] = [
  { encoder: "mobilenetv3_small", batch: 64, imageSize: 64 },
  { encoder: "resnet18", batch: 64, imageSize: 64 },
];

/** Medians of a rank: of a step, and of the same step without an exchange, which a single rank has alone. */
export interface RankTimes {
  exchangedMs: number;
  aloneMs: number;
  /** The same with `--compress f16`. */
  compressedMs: number;
  /** Of the sums of all gradients by MPI, while nothing else is done. */
  sumMs: number;
  gradientBytes: number;
}

const RANKS = [1, 2, 4];

async function launch(ranks: number, work: number, steps: number): Promise<RankTimes[]> {
  const program = new URL("./scale_rank.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command("mpirun", {
    args: [
      ...["--oversubscribe", "--bind-to", "none", "-n", `${ranks}`],
      ...[Deno.execPath(), "run", "--quiet", "-A", program, `${work}`, `${steps}`],
    ],
    env: { OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1" },
  }).output();
  const text = new TextDecoder();
  if (code !== 0) throw new UserError(`mpirun ended with ${code}: ${text.decode(stderr)}`);
  return JSON.parse(text.decode(stdout));
}

/** Times steps by 1, 2 and 4 ranks of Open MPI on this machine; no rows where there is no `mpirun`. */
export async function compareScales(steps: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [i, { encoder, batch, imageSize }] of SCALED.entries()) {
    for (const ranks of RANKS) {
      let times: RankTimes[];
      try {
        times = await launch(ranks, i, steps);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        console.log("no mpirun: ./seed --mpi installs it");
        return [];
      }
      const slowest = (of: (times: RankTimes) => number) => Math.max(...times.map(of));
      const alone = slowest((t) => t.aloneMs);
      const row = (how: string, step: number, bytes: number, sums = 0) =>
        rows.push({
          name: `${encoder}, batch ${batch} at ${imageSize} px, ${ranks} rank${ranks === 1 ? "" : "s"}${how}`,
          facts: {
            "images/s": `${(1000 * batch / step).toFixed(0)}`,
            "share of a step": `${(100 * Math.max(0, 1 - alone / step)).toFixed(0)} %`,
            "step": `${step.toFixed(0)} ms`,
            "without exchange": `${alone.toFixed(0)} ms`,
            ...sums > 0 && {
              "sums alone": `${sums.toFixed(0)} ms`,
              "hidden": `${(100 * Math.min(1, Math.max(0, 1 - (step - alone) / sums))).toFixed(0)} %`,
            },
            "gradients": `${(bytes / 2 ** 20).toFixed(1)} MiB`,
          },
        });
      const [{ gradientBytes }] = times;
      if (ranks === 1) {
        row("", alone, 0);
        continue;
      }
      row("", slowest((t) => t.exchangedMs), gradientBytes, slowest((t) => t.sumMs));
      row(", --compress f16", slowest((t) => t.compressedMs), gradientBytes / 2);
    }
  }
  return rows;
}
