/** The flags of the tasks in `bench/`; those of `bench:paper` are in `paper_test.ts`. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseBenchFlags } from "../../bench/bench_flags.ts";
import { parseLearningFlags } from "../../bench/learning.ts";
import { parseReliabilityFlags } from "../../bench/reliability.ts";
import { UserError } from "../../errors.ts";

Deno.test("parseBenchFlags() takes names of sections, and all without names", () => {
  const { names, rounds, dryRun } = parseBenchFlags(["product", "vit", "--rounds", "2", "--dry-run"]);
  assertEquals([names, rounds, dryRun], [["product", "vit"], 2, true]);
  assertEquals(parseBenchFlags([]).names.length > 10, true);
});

Deno.test("parseBenchFlags() refuses what it does not know, before anything is measured", () => {
  const refused = (args: string[], text: string) =>
    assertThrows(() => parseBenchFlags(args), UserError, text);
  refused(["--dryrun", "product", "--rounds", "1"], "--dryrun: unknown"); // else results would be overwritten
  refused(["--round", "1"], "--round: unknown");
  refused(["products"], 'there is no section "products"');
  refused(["--rewrite", "product"], "--rewrite measures nothing");
  refused(["--rounds", "0"], "--rounds: expected a whole number from 1, found 0");
  refused(["--rounds"], "--rounds: expected a whole number from 1, found nothing");
});

Deno.test("parseLearningFlags() and parseReliabilityFlags() refuse what they do not know", () => {
  const refused = (parse: (args: string[]) => unknown, args: string[], text: string) =>
    assertThrows(() => parse(args), UserError, text);
  refused(parseLearningFlags, ["--seeds", "abc"], "--seeds: expected a whole number from 1, found abc");
  refused(parseLearningFlags, ["--epochs", "0"], "--epochs: expected a whole number from 1, found 0");
  refused(parseLearningFlags, ["--seed", "3"], "--seed: unknown");
  refused(parseLearningFlags, ["3"], "3: unknown");
  refused(parseLearningFlags, ["--keep"], "--keep: expected a folder");
  refused(parseReliabilityFlags, ["--steps", "9"], "--steps: unknown");
  refused(parseReliabilityFlags, ["many"], "STEPS: expected a whole number from 1, found many");
  refused(parseReliabilityFlags, ["9", "0"], "CRASHES: expected a whole number from 1, found 0");
  refused(parseReliabilityFlags, ["9", "9", "9"], "expected STEPS and CRASHES, found 9 behind them");
  assertEquals(parseLearningFlags(["--seeds", "3"]), { seeds: 3, epochs: 6, keep: undefined });
  assertEquals(parseReliabilityFlags(["500"]), { steps: 500, crashes: 50 });
});

/** Runs a program of `bench/`. */
async function run(name: string, ...args: string[]) {
  const program = fileURLToPath(new URL(`../../bench/${name}.ts`, import.meta.url));
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--no-check", program, ...args],
  }).output();
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code: output.code, stdout, stderr };
}

for (const name of ["bits", "learning", "paper", "reliability", "images", "main"]) {
  Deno.test(`bench/${name}.ts has --help, and refuses unknown flags in one line`, async () => {
    const { code, stdout, stderr } = await run(name, "--help");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^Usage: deno task /);
    const wrong = await run(name, "--wrong");
    assertEquals([wrong.code, wrong.stdout], [2, ""]);
    assertMatch(wrong.stderr, /^error: .*--wrong.*\n$/);
  });
}

Deno.test("bench:learning refuses the folder of another experiment in one line", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(folder, "teacher/seed0"), { recursive: true });
    await Deno.writeTextFile(join(folder, "teacher/seed0/experiment.json"), "{}");
    const { code, stderr } = await run("learning", "--keep", folder);
    assertEquals(code, 1);
    assertMatch(stderr, /^error: .*other settings.*: choose another folder, or remove it\n$/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
