import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { helpExtent, nearestName, parseFlags, UsageError } from "../../../cli/flags/flags.ts";
import type { FlagTable } from "../../../methods/flag_table.ts";

const TABLE = {
  batchSize: { kind: "integer", short: "b", min: 1, max: 4096, group: "A", help: "" },
  lr: { kind: "number", aliases: ["learning-rate"], group: "A", help: "" },
  temp: { kind: "number", above: 0, max: 1, group: "A", help: "" },
  teacherArch: { kind: "choice", values: ["resnet18", "resnet50"], short: "k", group: "A", help: "" },
  schedule: { kind: "integers", min: 0, group: "A", help: "" },
  cos: { kind: "boolean", group: "A", help: "" },
  data: { kind: "text", metavar: "FOLDER", group: "A", help: "" },
} as const satisfies FlagTable;

const RETIRED = {
  "local-rank": { takesValue: true, reason: "of no use" },
  "multiprocessing-distributed": { takesValue: false, reason: "of no use" },
};

function values(...args: string[]) {
  return parseFlags(TABLE, args).values;
}

function messageOf(...args: string[]): string {
  return assertThrows(() => parseFlags(TABLE, args), UsageError).message;
}

Deno.test("parseFlags() reads every spelling of a flag with a value", () => {
  for (
    const args of [
      ["--batch-size", "32"],
      ["--batch_size", "32"],
      ["--batch-size=32"],
      ["--batch_size=32"],
      ["-b", "32"],
      ["-b32"],
      ["-b=32"],
      ["--batch-size=+32"],
    ]
  ) assertEquals(values(...args), { batchSize: 32 }, args.join(" "));
  assertEquals(values("-kresnet50"), { teacherArch: "resnet50" });
  assertEquals(values("-lr", "3"), { lr: 3 }); // a hyphen too few, and nothing else it could mean
  assertEquals(values("-lr=3"), { lr: 3 });
});

Deno.test("parseFlags() gives values of the flag's kind, and nothing for flags that are not given", () => {
  assertEquals(values(), {});
  assertEquals(values("--data", "0123", "-k", "resnet50", "--learning_rate", "1e-4", "--temp=.5"), {
    data: "0123",
    teacherArch: "resnet50",
    lr: 1e-4,
    temp: 0.5,
  });
});

Deno.test("parseFlags() takes a negative number for a value and not for a flag", () => {
  assertEquals(values("--lr", "-1.5e-3", "--cos"), { lr: -0.0015, cos: true });
  assertEquals(values("--lr=-2"), { lr: -2 });
  assertStringIncludes(messageOf("-b", "-1"), '-b: expected a whole number from 1 to 4096, found "-1"');
});

Deno.test("parseFlags() reads lists with commas, with blanks, and with both", () => {
  assertEquals(values("--schedule", "120,160"), { schedule: [120, 160] });
  assertEquals(values("--schedule", "120", "160", "--cos"), { schedule: [120, 160], cos: true });
  assertEquals(values("--schedule=120, 160"), { schedule: [120, 160] });
  assertEquals(values("--schedule", "1,2", "3"), { schedule: [1, 2, 3] });
  assertEquals(values("--schedule", "5"), { schedule: [5] });
});

Deno.test("parseFlags() reads booleans as flags, negated, and as the words of scripts for the original", () => {
  assertEquals(values("--cos"), { cos: true });
  assertEquals(values("--no-cos"), { cos: false });
  assertEquals(values("--no_cos"), { cos: false });
  assertEquals(values("--cos", "False"), { cos: false });
  assertEquals(values("--cos=0"), { cos: false });
  assertEquals(values("--cos", "true", "--lr", "1"), { cos: true, lr: 1 });
});

Deno.test("parseFlags() keeps a value that looks like something else", () => {
  assertEquals(values("--data=a=b"), { data: "a=b" });
  assertEquals(values("--data", "x y\nz"), { data: "x y\nz" });
  assertEquals(values("--data=--odd"), { data: "--odd" });
  assertEquals(values("--data", "true"), { data: "true" });
  assertEquals(values("--data", "-"), { data: "-" });
});

Deno.test("parseFlags() returns positional arguments, up to as many as the command takes", () => {
  const { values, positionals } = parseFlags(TABLE, ["12", "--lr", "3", "b", "--", "--lr"], {
    positionals: 3,
  });
  assertEquals(values, { lr: 3 });
  assertEquals(positionals, ["12", "b", "--lr"]);
  assertEquals(parseFlags(TABLE, ["-5"], { positionals: 1 }).positionals, ["-5"]);
  assertStringIncludes(
    messageOf("image.png"),
    'unexpected argument "image.png": this command takes flags only, and images with --data',
  );
  const { data: _, ...without } = TABLE;
  assertThrows(() => parseFlags(without, ["a"]), UsageError, "takes flags only (--help all");
  assertThrows(() => parseFlags(TABLE, ["a", "b"], { positionals: 1 }), UsageError, "at most 1 can be given");
});

Deno.test("parseFlags() names an unknown flag and the one that was probably meant", () => {
  assertStringIncludes(
    messageOf("--bacth-size", "3"),
    "unknown flag --bacth-size; did you mean --batch-size?",
  );
  assertStringIncludes(
    messageOf("--teacher=resnet50"),
    "unknown flag --teacher; did you mean --teacher-arch?",
  );
  assertStringIncludes(messageOf("--no-coss"), "did you mean --no-cos?");
  assertStringIncludes(messageOf("--LR", "1"), "did you mean --lr?");
  assertEquals(messageOf("--xylophone"), "unknown flag --xylophone (--help all lists every flag)");
  assertEquals(messageOf("-z", "3"), "unknown flag -z (--help all lists every flag)");
  assertEquals(messageOf("-zebra=3"), "unknown flag -zebra (--help all lists every flag)");
});

Deno.test("parseFlags() takes a longer name for the flag that it begins with", () => {
  for (
    const [written, meant] of [
      ["--data_path=x", "data"],
      ["--batch_size_per_gpu", "batch-size"],
      ["--lr_scheduler", "lr"],
      ["--no_cos_decay", "no-cos"],
    ]
  ) assertStringIncludes(messageOf(written), `did you mean --${meant}?`);
  assertEquals(nearestName("datum-x", ["data", "x"]), undefined);
});

Deno.test("parseFlags() refuses an empty argument, as of a variable that is not set", () => {
  for (const most of [0, 1]) {
    assertThrows(
      () => parseFlags(TABLE, ["--cos", ""], { positionals: most }),
      UsageError,
      "an argument is empty: is a variable in the command not set?",
    );
  }
  assertStringIncludes(messageOf("--data", ""), "--data has no value");
});

Deno.test("helpExtent() takes any value of --help for a wish for help", () => {
  for (const arg of ["-h", "--help", "--help=true", "--help=yes", "--help="]) {
    assertEquals(helpExtent(["--cos", arg]), "common", arg);
  }
  for (const args of [["--help=all"], ["--help", "all"], ["-h", "all"]]) {
    assertEquals(helpExtent(args), "all");
  }
  assertEquals(helpExtent(["--helper", "-help"]), undefined);
});

Deno.test("parseFlags() negates nothing but booleans", () => {
  assertStringIncludes(messageOf("--no-lr"), "unknown flag --no-lr");
  assertStringIncludes(messageOf("--no-lr=3"), "unknown flag --no-lr");
  assertStringIncludes(messageOf("--no-cos=1"), '--no-cos takes no value, found "1"');
});

Deno.test("parseFlags() says what was expected and what was found", () => {
  assertEquals(messageOf("--lr", "fast"), '--lr: expected a number, found "fast"');
  assertEquals(messageOf("--lr", "NaN"), '--lr: expected a number, found "NaN"');
  assertEquals(messageOf("--lr", "1e999"), '--lr: expected a number, found "1e999"');
  assertEquals(messageOf("-b", "0"), '-b: expected a whole number from 1 to 4096, found "0"');
  assertEquals(messageOf("-b", "4097"), '-b: expected a whole number from 1 to 4096, found "4097"');
  assertEquals(messageOf("-b", "1.5"), '-b: expected a whole number from 1 to 4096, found "1.5"');
  assertEquals(messageOf("--temp=0"), '--temp: expected a number above 0 and at most 1, found "0"');
  assertEquals(
    messageOf("--cos=maybe"),
    '--cos: expected true or false (no value means true), found "maybe"',
  );
  assertStringIncludes(messageOf("--schedule", "soon"), 'such as 120,160, found "soon"');
  assertStringIncludes(messageOf("--schedule", "1,-2"), 'of at least 0, such as 120,160, found "1,-2"');
  assertEquals(
    messageOf("-k", "resnet81"),
    '-k: expected one of resnet18, resnet50, found "resnet81"; did you mean resnet18?',
  );
});

Deno.test("parseFlags() names a flag without its value", () => {
  assertEquals(messageOf("--lr"), "--lr has no value: expected a number");
  assertEquals(messageOf("--lr="), "--lr has no value: expected a number");
  assertEquals(messageOf("--data", "--cos"), "--data has no value: expected a value (FOLDER)");
  assertStringIncludes(messageOf("--schedule", "--cos"), "--schedule has no value");
});

Deno.test("parseFlags() refuses a flag that is given twice, under whatever names", () => {
  assertEquals(messageOf("-b", "1", "--batch_size=2"), "--batch-size is given twice (1, 2); give it once");
  assertEquals(messageOf("--cos", "--no-cos"), "--cos is given twice (true, false); give it once");
});

Deno.test("parseFlags() takes retired flags, with their values, and warns", () => {
  const { values, warnings } = parseFlags(
    TABLE,
    ["--local_rank", "0", "--lr", "1", "--multiprocessing-distributed", "--local-rank=1"],
    { retired: RETIRED },
  );
  assertEquals(values, { lr: 1 });
  assertEquals(warnings, [
    "--local_rank is ignored: of no use",
    "--multiprocessing-distributed is ignored: of no use",
    "--local-rank is ignored: of no use",
  ]);
  const others = ["--local-rank=", "a", "--local_rank", "-1", "--multiprocessing-distributed", "b"];
  assertEquals(parseFlags(TABLE, others, { retired: RETIRED, positionals: 2 }).positionals, ["a", "b"]);
  assertEquals(parseFlags(TABLE, ["--local-rank", "-b", "8"], { retired: RETIRED }).values, { batchSize: 8 });
});

Deno.test("nearestName() offers no name that is far away or could be several", () => {
  assertEquals(nearestName("teach", ["teacher-arch", "temp"]), "teacher-arch");
  assertEquals(nearestName("te", ["teacher-arch", "temp"]), undefined);
  assertEquals(nearestName("wokers", ["workers", "queue"]), "workers");
  assertEquals(nearestName("zebra", ["workers", "queue"]), undefined);
  assertEquals(nearestName("zebra", []), undefined);
});
