import { assertEquals } from "@std/assert";
import { describeSkipped, IgnoredTests } from "./skipped_tests.ts";

const TEXTS: Readonly<Record<string, string>> = {
  "./tests/a_test.ts": "ignore: !IS_LONG",
  "./tests/b_test.ts": 'ignore: Deno.build.os === "windows"',
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
function find(isLong: boolean) {
  const tests = new IgnoredTests((file) => TEXTS[file], isLong);
  for (const line of OUTPUT.split("\n")) tests.take(line);
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

Deno.test("describeSkipped() is one line, or nothing", () => {
  assertEquals(describeSkipped([]), undefined);
  const tests = [{ name: "a", reason: "there is no b" }, { name: "c", reason: "it is long" }];
  assertEquals(describeSkipped(tests), "2 skipped: a (there is no b), c (it is long)");
});
