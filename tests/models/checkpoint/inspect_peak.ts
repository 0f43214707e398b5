/** Runs `inspect` on a file in a process of its own, and measures what it took. */
import { fileURLToPath } from "node:url";
import { taskFlags } from "../../cli/run_program.ts";
import { buildZip, deflate, type FixtureEntry, pickleBytes } from "./fixtures.ts";

const PROGRAM = fileURLToPath(new URL("../../../cli/commands/inspect.ts", import.meta.url));
/** Of a process that reads without end; ten times what it should take at most. */
const KILL_MS = 50_000;

/** How `inspect` ended, and its largest resident memory in MiB; `undefined` where the system does not tell. */
export interface InspectPeak {
  code: number;
  stdout: string;
  stderr: string;
  peak: number | undefined;
}

/** Runs `inspect ARGS` with its task's permissions. It is killed after some time. */
export async function inspectPeak(...args: string[]): Promise<InspectPeak> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(PROGRAM), PROGRAM, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
    signal: AbortSignal.timeout(KILL_MS),
  }).spawn();
  let peak: number | undefined;
  // The kernel's own mark of the highest: what is read last is the largest.
  const timer = setInterval(() => {
    try {
      const mark = /VmHWM:\s+(\d+) kB/.exec(Deno.readTextFileSync(`/proc/${child.pid}/status`));
      if (mark !== null) peak = Number(mark[1]) / 1024;
    } catch { /* it has ended, or there is no /proc */ }
  }, 5);
  const { code, stdout, stderr } = await child.output();
  clearInterval(timer);
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr), peak };
}

/** Writes a checkpoint whose pickle is deflated, so that a small file holds a long one. */
export async function writePacked(path: string, pickle: string, more: FixtureEntry[] = []): Promise<void> {
  const plain = pickleBytes(0x80, 2, pickle);
  const data = { name: "a/data.pkl", data: await deflate(plain), method: 8, size: plain.length, crc32: 0 };
  Deno.writeFileSync(path, buildZip([data, ...more]));
}
