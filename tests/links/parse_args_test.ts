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

/** Options as a command line with flags of every kind has them. */
const FLAGS = {
  string: ["_", "rate"],
  boolean: ["cos"],
  negatable: ["cos"],
  alias: { rate: ["r", "lr"], cos: "c" },
  collect: ["rate", "cos"],
};

/** Arguments, and what the real package, version 1.0.24, makes of them with these options. */
const CASES: [args: string[], options: Parameters<typeof parse>[1], expected: Record<string, unknown>][] = [
  [["--lr", "1", "-r2", "-r=3", "--rate=4"], FLAGS, { ...sameRates("1", "2", "3", "4"), ...sameCos() }],
  [["-r", "--cos"], FLAGS, { ...sameRates(""), ...sameCos(true) }],
  [["-r", "-1"], { ...FLAGS, boolean: [] }, { ...sameRates(""), "1": true }],
  [["--rate", "x=y", "-r=a=b", "--rate=c=d"], FLAGS, { ...sameRates("x=y", "a=b", "c=d"), ...sameCos() }],
  [["--rate=a\nb"], FLAGS, { ...sameRates("a\nb"), ...sameCos() }],
  [["-r=a\nb"], FLAGS, { ...sameRates("a"), ...sameCos() }],
  [["-c", "file", "--cos=false", "--cos", "true"], FLAGS, {
    ...sameRates(),
    ...sameCos(true, false, true),
    _: ["file"],
  }],
  [["--cos=maybe", "--cos=0", "--cos", "False"], FLAGS, {
    ...sameRates(),
    ...sameCos(true, true, true),
    _: ["False"],
  }],
  // A negation puts away what was collected before it, and is not collected itself.
  [["--cos", "--no-cos"], FLAGS, { ...sameRates(), cos: false, c: false }],
  [["--no-cos", "--cos"], FLAGS, { ...sameRates(), ...sameCos(true) }],
  [["--no-rate=1", "--no-cos=1"], FLAGS, { ...sameRates("1"), ...sameCos(true) }],
  [["-rest"], FLAGS, { ...sameRates(""), e: true, s: true, t: true, ...sameCos() }],
  [["-"], FLAGS, { ...sameRates(), ...sameCos(), _: ["-"] }],
  [["--rate", "-"], FLAGS, { ...sameRates(""), ...sameCos(), _: ["-"] }],
  [["--rate", ""], FLAGS, { ...sameRates(""), ...sameCos(), _: [""] }],
  [["--a=0b11", "--b=1.", "--c= 7 ", "--d=1e999", "--e="], {}, { a: 3, b: 1, c: 7, d: "1e999", "e=": true }],
  [["-a="], {}, { a: true, "=": true }],
  [["-ab-", "-c-1"], {}, { a: true, b: "-", c: -1 }],
  [["--a", "x", "--b"], { boolean: true }, { a: true, b: true, _: ["x"] }],
  [["-b", "1"], { boolean: ["a"], alias: { a: "b" } }, { a: true, b: true, _: [1] }],
];

function sameRates(...rates: string[]) {
  return { rate: rates, r: rates, lr: rates };
}

function sameCos(...values: boolean[]) {
  return { cos: values, c: values };
}

for (const [args, options, expected] of CASES) {
  Deno.test(`parseArgs() reads ${JSON.stringify(args)} as the real package does`, () => {
    assertEquals(parse(args, options), { _: [], ...expected });
  });
}

Deno.test("parseArgs() asks `unknown` about no flag that is collected", () => {
  const seen: unknown[] = [];
  const unknown = (...call: unknown[]) => seen.push(call);
  assertEquals(parse(["--a", "x", "--b=1", "--no-b=2", "-c=3"], { collect: ["a"], unknown }), {
    _: [],
    a: ["x"],
    b: 2,
    c: 3,
  });
  assertEquals(seen, [["--b=1", "b", "1"], ["--no-b=2", "b", "2"], ["-c=3", "c", "3"]]);
});
