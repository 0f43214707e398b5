import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { describeSkipped, findIgnored } from "./skipped_tests.ts";

const TEXTS: Readonly<Record<string, string>> = {
  "./a_test.ts": `import "./b_test.ts";
const IS_LONG = false;
Deno.test("one", () => {});
Deno.test("two, \\"of three\\" & a comma", { ignore: !IS_LONG }, () => {});
`,
  "./b_test.ts": `Deno.test("three's <own>", { ignore: true }, () => {});
Deno.test("one more", () => {});
`,
};

/** What the runner reports of two files, one of which imports the other. */
async function reportOf(flags: string[]): Promise<string> {
  const folder = Deno.makeTempDirSync({ prefix: "seed_report_" });
  try {
    for (const [path, text] of Object.entries(TEXTS)) Deno.writeTextFileSync(join(folder, path), text);
    const args = ["test", "--no-config", "--no-check", "--junit-path=report.xml", ...flags, "a_test.ts"];
    await new Deno.Command(Deno.execPath(), { args, cwd: folder }).output();
    return Deno.readTextFileSync(join(folder, "report.xml"));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("findIgnored() finds names and reasons in a report of the runner, by the file that has the test", async () => {
  const report = await reportOf([]);
  const elsewhere = { name: "three's <own>", reason: "not on this system, or not for this user" };
  const textOf = (file: string) => TEXTS[file];
  assertEquals(findIgnored(report, textOf, false), [
    elsewhere,
    { name: 'two, "of three" & a comma', reason: "it is long: SEED_LONG=1 runs it" },
  ]);
  assertEquals(findIgnored(report, textOf, true).map(({ reason }) => reason), [
    elsewhere.reason,
    elsewhere.reason,
  ]);
});

Deno.test("findIgnored() finds none that a filter leaves out", async () => {
  assertEquals(findIgnored(await reportOf(["--filter", "one"]), (file) => TEXTS[file], false), []);
});

Deno.test("describeSkipped() is one line, or nothing", () => {
  assertEquals(describeSkipped([]), undefined);
  const tests = [{ name: "a", reason: "there is no b" }, { name: "c", reason: "it is long" }];
  assertEquals(describeSkipped(tests), "2 skipped: a (there is no b), c (it is long)");
});
