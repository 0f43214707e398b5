import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describeFindings, examine, type Finding } from "../../../cli/commands/doctor.ts";
import { describeRanks } from "../../../cli/output/ranks_finding.ts";
import { TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { withShapes } from "../../models/shape_checkpoint.ts";
import { hostPrograms, type RunProgram, runProgram as runAlone } from "../run_program.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/doctor.ts", import.meta.url));

Deno.test("doctor finds what a run of the bundled sample needs", async () => {
  const { code, stdout, stderr } = await runProgram(PROGRAM, "--json");
  assertEquals(code, 0, stderr);
  const findings: Finding[] = JSON.parse(stdout);
  assertEquals(findings.map(({ what }) => what.split(" ")[0]), [
    "Deno",
    "adapter",
    "limits",
    "kernels",
    "memory",
    "disk",
    "images",
    "teacher",
    "MPI",
  ]);
  assert(findings.every(({ state, advice }) => state === "ok" || advice !== undefined));
  assertMatch(findings.at(-2)!.found, /^resnet18 \(moco\), 128-d embeddings, /);
});

Deno.test("doctor says what to do about each problem, and ends with 1", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_doctor_" });
  try {
    Deno.writeTextFileSync(join(folder, "train.tsv"), "a\t0\tAAAA\nb\t1\tAAAA\n");
    const checkpoint = join(folder, "broken.pth");
    Deno.writeTextFileSync(checkpoint, "no checkpoint");
    const args = ["--data", folder, "--distill", checkpoint, "--output", join(folder, "new", "run")];
    const { code, stdout } = await runProgram(PROGRAM, ...args);
    assertEquals(code, 1);
    assertMatch(stdout, new RegExp(`^(ok|warning) +disk +\\S+ GiB free in ${folder}$`, "m"));
    assertMatch(
      stdout,
      /^problem +images .* 2 in .*; 0 of 2 sampled can be decoded\n +the first that cannot: /m,
    );
    assertMatch(stdout, /^problem +teacher .*broken\.pth: /m);
    const intoFile = await runProgram(PROGRAM, "--output", join(checkpoint, "run"));
    assertEquals(intoFile.code, 1);
    assertMatch(
      intoFile.stdout,
      /^problem +output +cannot write .*broken\.pth\/run: expected a folder, found a file/m,
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("doctor says how far it is where it must find the rows of a TSV file", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_doctor_" });
  try {
    const row = "a\t0\tAAAA\n";
    Deno.writeTextFileSync(join(folder, "train.tsv"), row.repeat(1000));
    const told: number[][] = [];
    await examine({ data: folder, distill: TINY_TEACHER, output: folder }, undefined, {
      onProgress: (...bytes) => told.push(bytes),
    });
    assertEquals(told, [[1000 * row.length, 1000 * row.length]]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("doctor looks at the teacher that distill's flags choose", async () => {
  const teacherBy = async (run: RunProgram, path: string, ...flags: string[]) => {
    const args = ["--json", "--distill", path, "--output", dirname(path), ...flags];
    const { stdout, stderr } = await run(PROGRAM, ...args);
    assertEquals(stderr, "");
    const { state, found } = (JSON.parse(stdout) as Finding[]).find(({ what }) => what === "teacher")!;
    return `${state}: ${found}`;
  };
  const teacherOf = (path: string, ...flags: string[]) => teacherBy(runProgram, path, ...flags);
  await withShapes("resnet18", { prefix: "target.net.", without: /^fc/ }, async (path) => {
    assertMatch(await teacherOf(path), /^problem: .*head/);
    assertMatch(await teacherOf(path, "--feature"), /^ok: resnet18 \(moco\), 512-d features, /);
    assertMatch(
      await teacherOf(path, "--feature", "--weights", "target"),
      /: the encoder is under target\.net\.\*$/,
    );
    assertMatch(
      await teacherOf(path, "--feature", "--weights", "online"),
      /^problem: .*expected --weights "target.net."/,
    );
    assertMatch(
      await teacherOf(path, "--feature", "-k", "resnet50"),
      /^problem: .*but --teacher-arch is resnet50/,
    );
    assertMatch(await teacherOf(path, "--feature", "--teacher-ssl", "swav"), /^ok: resnet18 \(swav\)/);
  });
  // In a process that no other test has given that encoder to.
  assertMatch(await teacherBy(runAlone, TINY_TEACHER), /^problem: /);
  assertMatch(
    await teacherOf(TINY_TEACHER, "--plugin", fileURLToPath(TINY_ENCODER)),
    /^ok: tiny_convnet \(moco\), 128-d embeddings, /,
  );
});

Deno.test("describeRanks() says which ranks share a device, and which are bound to few cores", () => {
  const rank = { host: "a", adapter: "Radeon", isSoftware: false, cores: 8, allCores: 16 };
  const apart = describeRanks("MPI 5", [{ ...rank, cores: 16 }, { ...rank, host: "b", cores: 16 }]);
  assertEquals(apart.map(({ state, found }) => [state, found]), [
    ["ok", "MPI 5: 2 ranks on 2 machines"],
    ["ok", "rank 0 on a: Radeon"],
    ["ok", "rank 1 on b: Radeon"],
  ]);
  const [, shared] = describeRanks("MPI 5", [rank, rank]);
  assertEquals([shared.state, shared.found], ["warning", "ranks 0, 1 on a: Radeon"]);
  assertMatch(shared.advice!, /^they may share one device, which gains nothing: .*scaling\.md#devices/);
  const [, own] = describeRanks("MPI 5", [rank, { ...rank, adapter: "GeForce" }]);
  assertEquals([own.state, own.found], ["ok", "ranks 0, 1 on a: Radeon; GeForce"]);
  const [, bound] = describeRanks("MPI 5", [{ ...rank, cores: 1 }, {
    ...rank,
    adapter: "GeForce",
    cores: 1,
  }]);
  assertEquals(
    bound.advice,
    "the launcher binds each rank to 1 core of 16: readers need more, so add --bind-to none",
  );
});

Deno.test("describeFindings() puts advice under what it is about", () => {
  const findings: Finding[] = [
    { what: "Deno", state: "ok", found: "2.9.6" },
    { what: "memory", state: "warning", found: "2.0 GiB free", advice: "close other programs" },
  ];
  assertEquals(
    describeFindings(findings),
    "ok       Deno    2.9.6\nwarning  memory  2.0 GiB free\n                 close other programs",
  );
  const long = [{ ...findings[1], advice: "close other programs, or use a smaller --batch-size" }];
  assertEquals(describeFindings(long, 55).split("\n"), [
    "warning  memory  2.0 GiB free",
    "                 close other programs, or use a smaller",
    "                 --batch-size",
  ]);
});
