import { assertEquals } from "@std/assert";
import { describeSkipped, IgnoredTests } from "./skipped_tests.ts";

const A_TEST = "Deno.test({ name: `two, of a group, ${how} a comma`, ignore: !IS_LONG";
const B_TEST = 'ignore: Deno.build.os === "windows"';
const TEXTS: Readonly<Record<string, readonly string[]>> = {
  "./tests/a_test.ts": [A_TEST],
  "./tests/b_test.ts": [B_TEST],
  "./tests/.groups/ab.ts": [B_TEST + '"four, with a comma"', A_TEST],
};
const OUTPUT = `running 3 tests from ./tests/a_test.ts
one ... ok (1ms)
two, with a comma ... ignored (0ms)
three ... FAILED (1ms)
\x1b[38;5;245m./tests/b_test.ts => \x1b[0mfour ... \x1b[0m\x1b[33mignored\x1b[0m \x1b[38;5;245m(0ms)\x1b[0m
./tests/b_test.ts => five ... ok (396µs)

ok | 2 passed | 1 failed | 2 ignored (2s)
`;

/** What is found. */
function find(isLong: boolean, output = OUTPUT) {
  const tests = new IgnoredTests((file) => TEXTS[file], isLong);
  for (const line of output.split("\n")) tests.take(line);
  return tests.found;
}

Deno.test("IgnoredTests finds names and reasons, in colour too", () => {
  const elsewhere = "not on this system, or not for this user";
  const expected = [
    { name: "two, with a comma", reason: "it is long: SEED_LONG=1 runs it" },
    { name: "four", reason: elsewhere },
  ];
  assertEquals(find(false), expected);
  assertEquals(find(true)[0].reason, elsewhere);
});

Deno.test("IgnoredTests finds the reason in the file of a group that has the test", () => {
  const output = ["two, of a group, without a comma", "four, with a comma"]
    .map((name) => `./tests/.groups/ab.ts => ${name} ... ignored (0ms)`).join("\n");
  assertEquals(find(false, output).map(({ reason }) => reason.split(":")[0]), [
    "it is long",
    "not on this system, or not for this user",
  ]);
});

Deno.test("describeSkipped() is one line, or nothing", () => {
  assertEquals(describeSkipped([]), undefined);
  const tests = [{ name: "a", reason: "there is no b" }, { name: "c", reason: "it is long" }];
  assertEquals(describeSkipped(tests), "2 skipped: a (there is no b), c (it is long)");
});
