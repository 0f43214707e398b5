import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";

const parse = (args: string[], options?: Parameters<typeof parseArgs>[1]): unknown =>
  parseArgs(args, options);

Deno.test("parseArgs() splits names, values and positional arguments", () => {
  assertEquals(parse(["--name=value", "--other", "thing", "file", "-n", "5", "-"]), {
    _: ["file", "-"],
    name: "value",
    other: "thing",
    n: 5,
  });
});

Deno.test("parseArgs() makes numbers of numeric text unless the flag is a string", () => {
  assertEquals(parse(["--a=0x10", "--b=1e-4", "--c=.5", "--d=1.2.3", "7"]), {
    _: [7],
    a: 16,
    b: 1e-4,
    c: 0.5,
    d: "1.2.3",
  });
  assertEquals(parse(["--a=16", "7"], { string: ["a", "_"] }), { _: ["7"], a: "16" });
});

Deno.test("parseArgs() takes no flag for the value of another", () => {
  assertEquals(parse(["--a", "--b", "-1"]), { _: [], a: true, b: true, "1": true });
  assertEquals(parse(["--a", "--b=x"], { string: ["a", "b"] }), { _: [], a: "", b: "x" });
});

Deno.test("parseArgs() gives booleans no value but true and false", () => {
  assertEquals(parse(["--on", "file"], { boolean: ["on", "off"] }), {
    _: ["file"],
    on: true,
    off: false,
  });
  assertEquals(parse(["--on", "false", "--off=true"], { boolean: ["on", "off"] }), {
    _: [],
    on: false,
    off: true,
  });
});

Deno.test("parseArgs() negates only what may be negated", () => {
  assertEquals(parse(["--no-cos"], { boolean: ["cos"], negatable: ["cos"] }), { _: [], cos: false });
  assertEquals(parse(["--no-cos"]), { _: [], "no-cos": true });
});

Deno.test("parseArgs() collects repeated flags, and only keeps the last of others", () => {
  assertEquals(parse(["--a=1", "--a=2", "--b=1", "--b=2"], { string: ["a", "b"], collect: ["a"] }), {
    _: [],
    a: ["1", "2"],
    b: "2",
  });
  assertEquals(parse([], { string: ["a"], collect: ["a"] }), { _: [], a: [] });
});

Deno.test("parseArgs() sets every alias of a flag", () => {
  assertEquals(parse(["-l", "2"], { alias: { lr: ["l", "rate"] } }), { _: [], l: 2, lr: 2, rate: 2 });
  assertEquals(parse([], { alias: { lr: "l" }, default: { lr: 3 } }), { _: [], lr: 3, l: 3 });
});

Deno.test("parseArgs() splits letters", () => {
  assertEquals(parse(["-ab", "-n5", "-m=6"]), { _: [], a: true, b: true, n: 5, m: 6 });
});

Deno.test("parseArgs() leaves out what `unknown` refuses", () => {
  const seen: unknown[] = [];
  const result = parse(["--known=1", "--odd=2", "file"], {
    string: ["known"],
    unknown: (arg, key, value) => {
      seen.push([arg, key, value]);
      return false;
    },
  });
  assertEquals(result, { _: [], known: "1" });
  assertEquals(seen, [["--odd=2", "odd", "2"], ["file", undefined, undefined]]);
});

Deno.test("parseArgs() reads no flag after -- and, if so asked, after the first positional argument", () => {
  assertEquals(parse(["--a", "--", "--b", "5"]), { _: ["--b", "5"], a: true });
  assertEquals(parse(["--a", "--", "--b"], { "--": true }), { _: [], a: true, "--": ["--b"] });
  assertEquals(parse(["--a=1", "file", "--b"], { stopEarly: true }), { _: ["file", "--b"], a: 1 });
});
