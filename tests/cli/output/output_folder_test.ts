import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { OutputFolder, SUPERSEDED_SCORES } from "../../../cli/output/output_folder.ts";
import { UserError } from "../../../errors.ts";
import { IS_LONG } from "../../long.ts";
import { withMount } from "../../with_mount.ts";
import { statsOf } from "../../ui/recorded_run.ts";

function row(epoch: number, step: number) {
  return { epoch, step, loss: 1.5, lr: 0.03, images_per_second: 64 };
}

/** Runs a test in a folder of its own. */
function inFolder(test: (folder: string) => void): () => void {
  return () => {
    const folder = Deno.makeTempDirSync({ prefix: "seed-output-" });
    try {
      test(folder);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  };
}

Deno.test(
  "OutputFolder makes the folder and writes its three files line by line",
  inFolder((parent) => {
    const path = join(parent, "a", "b");
    using folder = OutputFolder.open(path);
    folder.begin({ distillT: 0.01, data: "/x", schedule: [1, 2] }, null);
    folder.log("one\ntwo");
    folder.metrics(row(0, 1));
    // Read while the folder is open: a crash would leave just this.
    assertEquals(JSON.parse(Deno.readTextFileSync(join(path, "config.json"))), {
      distill_t: 0.01,
      data: "/x",
      schedule: [1, 2],
    });
    const lines = Deno.readTextFileSync(join(path, "log.txt")).split("\n");
    assertEquals(lines.length, 3);
    assertMatch(lines[0], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ one$/);
    assertMatch(lines[1], /Z \| two$/);
    assertEquals(
      Deno.readTextFileSync(join(path, "metrics.jsonl")),
      '{"epoch":0,"step":1,"loss":1.5,"lr":0.03,"images_per_second":64}\n',
    );
    assertEquals([...Deno.readDirSync(path)].map(({ name }) => name).sort(), [
      ".lock",
      "config.json",
      "log.txt",
      "metrics.jsonl",
    ]);
  }),
);

Deno.test(
  "OutputFolder's log has no control characters, and no entry that a line feed in a name makes",
  inFolder((path) => {
    {
      using folder = OutputFolder.open(path);
      folder.log("a\x1b[2J\x9b1m\x07\n2025-11-25T01:45:12Z loss 0.0001");
      folder.log("next");
    }
    const text = Deno.readTextFileSync(join(path, "log.txt"));
    assertMatch(text, /^[\n\x20-\x7e]*$/);
    const [name, forged, next] = text.split("\n").map((line) => line.replace(/^\d{4}-\S+Z /, ""));
    assertEquals(name, String.raw`a\u001b[2J\u009b1m\u0007`);
    assertEquals([forged, next], ["| 2025-11-25T01:45:12Z loss 0.0001", "next"]);
  }),
);

Deno.test(
  "OutputFolder refuses a folder that holds another run, and leaves it as it was",
  inFolder((path) => {
    {
      using first = OutputFolder.open(path);
      first.metrics(row(0, 1));
      first.metrics(row(0, 2));
    }
    Deno.writeTextFileSync(join(path, "checkpoint_0000.pth.tar"), "");
    Deno.writeTextFileSync(join(path, "checkpoint_0001.pth.tar"), "");
    const before = Deno.readTextFileSync(join(path, "metrics.jsonl"));
    const { message } = assertThrows(() => OutputFolder.open(path), UserError);
    assertStringIncludes(
      message,
      `${path} already holds a run (2 rows in metrics.jsonl and 2 checkpoints)`,
    );
    assertStringIncludes(message, `--resume ${join(path, "checkpoint_0001.pth.tar")}`);
    assertEquals(Deno.readTextFileSync(join(path, "metrics.jsonl")), before);
  }),
);

Deno.test(
  "OutputFolder takes the folder of a run that failed before its first step",
  inFolder((path) => {
    {
      using failed = OutputFolder.open(path);
      failed.begin({}, null);
      failed.log("the teacher is missing");
    }
    using next = OutputFolder.open(path);
    next.log("again");
    assertMatch(Deno.readTextFileSync(join(path, "log.txt")), /missing\n.* again\n$/);
  }),
);

Deno.test(
  "OutputFolder removes the folders that it made above it too, as far as they are empty",
  inFolder((parent) => {
    const [run, other] = ["run", "other"].map((name) => join(parent, "a", "b", name));
    {
      using _ = OutputFolder.open(run);
    }
    assertEquals([...Deno.readDirSync(parent)], []);
    {
      using _ = OutputFolder.open(run);
      Deno.mkdirSync(other);
    }
    assertEquals([...Deno.readDirSync(join(parent, "a", "b"))].map(({ name }) => name), ["other"]);
  }),
);

Deno.test(
  "OutputFolder removes what it made for a run that never began, and nothing else",
  inFolder((parent) => {
    const [ours, shared, theirs] = ["ours", "shared", "theirs"].map((name) => join(parent, name));
    {
      using folder = OutputFolder.open(ours);
      folder.log("the teacher is missing");
      using other = OutputFolder.open(shared);
      other.log("the teacher is missing");
      Deno.writeTextFileSync(join(shared, "notes.txt"), "mine");
      Deno.mkdirSync(theirs);
      using there = OutputFolder.open(theirs);
      there.log("the teacher is missing");
    }
    assertEquals([...Deno.readDirSync(parent)].map(({ name }) => name).toSorted(), ["shared", "theirs"]);
    assertEquals([...Deno.readDirSync(shared)].map(({ name }) => name), ["notes.txt"]);
    assertMatch(Deno.readTextFileSync(join(theirs, "log.txt")), /missing\n$/);
  }),
);

Deno.test(
  "OutputFolder appends to a run that is resumed, without the rows that will be made again",
  inFolder((path) => {
    {
      using first = OutputFolder.open(path);
      for (const [epoch, step] of [[0, 1], [0, 2], [1, 3], [1, 4], [2, 5]]) first.metrics(row(epoch, step));
    }
    Deno.writeTextFileSync(join(path, "metrics.jsonl"), '{"epoch":1,"st', { append: true }); // a crash
    using second = OutputFolder.open(path, "auto");
    assertEquals(second.dropMetricsFrom(1, 3), 2);
    second.metrics(row(1, 4));
    const rows = Deno.readTextFileSync(join(path, "metrics.jsonl")).trimEnd().split("\n");
    assertEquals(rows.map((text) => JSON.parse(text).step), [1, 2, 3, 4]);
    assertEquals(second.dropMetricsFrom(2, 4), 0);
  }),
);

Deno.test(
  "OutputFolder drops the scores of what is evaluated again",
  inFolder((path) => {
    const score = (step: number) => ({ of: "student", by: "knn", step, top1: 1, top5: 2 }) as const;
    {
      using first = OutputFolder.open(path);
      for (const step of [0, 2, 4, 6]) first.score(score(step));
    }
    using second = OutputFolder.open(path, "auto");
    const steps = () =>
      Deno.readTextFileSync(join(path, "scores.jsonl")).trimEnd().split("\n").map((line) =>
        JSON.parse(line).step
      );
    second.dropMetricsFrom(1, 4);
    assertEquals(steps(), [0, 2, 4]);
    second.dropMetricsFrom(1, 4, ({ step }) => step === 4);
    assertEquals(steps(), [0, 2]);
    second.score(score(4));
    assertEquals(steps(), [0, 2, 4]);
  }),
);

Deno.test(
  "OutputFolder sets scores aside that others are not to be compared with, and loses none",
  inFolder((path) => {
    const score = (step: number, by: "knn" | "linear") =>
      ({ of: "student", by, step, top1: 1, top5: 2 }) as const;
    const steps = (name: string) =>
      Deno.readTextFileSync(join(path, name)).split("\n").slice(0, -1).map((line) => JSON.parse(line).step);
    const setAside = () => {
      using folder = OutputFolder.open(path, "auto");
      return folder.setScoresAside(({ by }) => by === "knn");
    };
    const add = (...rows: ReturnType<typeof score>[]) => {
      using folder = OutputFolder.open(path, "auto");
      for (const row of rows) folder.score(row);
    };
    assertEquals(setAside(), 0);
    add(score(0, "knn"), score(2, "linear"), score(4, "knn"));
    assertEquals(setAside(), 2);
    assertEquals([steps("scores.jsonl"), steps(SUPERSEDED_SCORES)], [[2], [0, 4]]);
    add(score(6, "knn"));
    assertEquals(setAside(), 1);
    assertEquals([steps("scores.jsonl"), steps(SUPERSEDED_SCORES)], [[2], [0, 4, 6]]);
  }),
);

Deno.test(
  "OutputFolder drops the rows of stats.jsonl that a resumed run makes again, and adds to the others",
  inFolder((path) => {
    {
      using first = OutputFolder.open(path);
      for (const step of [10, 20, 30]) first.stats(statsOf(step));
      first.stats({ ...statsOf(40), gradient_norms: { conv1: NaN, fc: Infinity } });
    }
    const rows = () =>
      Deno.readTextFileSync(join(path, "stats.jsonl")).trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(rows()[3], { ...statsOf(40), gradient_norms: { conv1: null, fc: null } });
    using second = OutputFolder.open(path, "auto");
    second.dropMetricsFrom(0, 20);
    assertEquals(rows().map(({ step }) => step), [10, 20]);
    second.stats(statsOf(30));
    assertEquals(rows(), [10, 20, 30].map(statsOf));
    Deno.writeTextFileSync(join(path, "stats.jsonl"), "null\n");
    assertThrows(
      () => second.dropMetricsFrom(0, 20),
      UserError,
      "stats.jsonl line 1: expected an object, found null",
    );
  }),
);

Deno.test(
  "OutputFolder drops all rows of an earlier use of the folder, whatever they are",
  inFolder((path) => {
    {
      using first = OutputFolder.open(path);
      first.score({ of: "teacher", by: "knn", step: 0, top1: 45.9, top5: 90 });
      first.stats(statsOf(10));
    }
    const read = (name: string) => Deno.readTextFileSync(join(path, name));
    Deno.writeTextFileSync(join(path, "stats.jsonl"), "null\n", { append: true });
    Deno.writeTextFileSync(join(path, "metrics.jsonl"), '{"epoch":0,"st'); // a crash
    using second = OutputFolder.open(path);
    second.dropRows();
    assertEquals(["scores.jsonl", "stats.jsonl", "metrics.jsonl"].map(read), ["", "", ""]);
    second.metrics(row(0, 1));
    const score = { of: "teacher", by: "knn", step: 0, top1: 31, top5: 90 } as const;
    second.score(score);
    assertEquals(JSON.parse(read("metrics.jsonl")), row(0, 1));
    assertEquals(JSON.parse(read("scores.jsonl")), score);
  }),
);

Deno.test(
  "OutputFolder says which line of metrics.jsonl it cannot resume after",
  inFolder((path) => {
    const name = join(path, "metrics.jsonl");
    Deno.writeTextFileSync(name, "");
    using folder = OutputFolder.open(path, "auto");
    for (
      const [line, problem] of [
        ["epoch 1", "expected JSON, found epoch 1"],
        ["", "expected JSON, found nothing"],
        ["null", "expected an object, found null"],
        ["7", "expected an object, found 7"],
        ["[]", "expected an object, found a list"],
        ['{"epoch":0}', "expected a field step, found none"],
        ['{"epoch":0,"step":"1"}', 'expected number, found "1" in the field step'],
        ['{"epoch":1e999,"step":1}', "expected a safe integer, found Infinity in the field epoch"],
        ['{"epoch":0,"step":NaN}', 'expected JSON, found {"epoch":0,"step":NaN}'],
      ]
    ) {
      const text = `{"epoch":0,"step":1}\n${line}\n`;
      Deno.writeTextFileSync(name, text);
      const { message } = assertThrows(() => folder.dropMetricsFrom(1, 0), UserError);
      assertEquals(message, `${name} line 2: ${problem}; correct the line, or move the file away`);
      assertEquals(Deno.readTextFileSync(name), text);
    }
    Deno.writeTextFileSync(join(path, "scores.jsonl"), "null\n");
    assertThrows(
      () => folder.dropMetricsFrom(1, 0),
      UserError,
      "scores.jsonl line 1: expected an object, found null",
    );
  }),
);

Deno.test(
  "OutputFolder names a file that stands in place of the folder",
  inFolder((parent) => {
    const path = join(parent, "file");
    Deno.writeTextFileSync(path, "mine");
    for (const target of [path, join(path, "below")]) {
      const { message } = assertThrows(() => OutputFolder.open(target), UserError);
      assertEquals(
        message,
        `cannot write ${target}: expected a folder, found a file. Choose another output directory with --output`,
      );
    }
    assertEquals(Deno.readTextFileSync(path), "mine");
  }),
);

Deno.test("OutputFolder says when the disk is full before a run", {
  ignore: Deno.build.os !== "linux",
}, async ({ name }) => {
  const path = Deno.makeTempDirSync({ prefix: "seed-output-" });
  await withMount(name, path, "size=12k", () => {
    const full = `cannot write ${path}: the disk is full`;
    Deno.writeFileSync(join(path, "filler"), new Uint8Array(12288));
    assertThrows(() => OutputFolder.open(path, "auto"), UserError, full);
    Deno.removeSync(join(path, "filler"));
    using folder = OutputFolder.open(path, "auto");
    folder.log("fits"); // as the probe is gone
  });
  Deno.removeSync(path);
});

Deno.test({
  name: "OutputFolder says when the disk is full during a run",
  ignore: Deno.build.os !== "linux", // /dev/full is a disk that is always full
  fn: inFolder((path) => {
    Deno.symlinkSync("/dev/full", join(path, "metrics.jsonl"));
    using folder = OutputFolder.open(path, "auto");
    folder.log("fits");
    assertThrows(() => folder.metrics(row(0, 1)), UserError, "metrics.jsonl: the disk is full");
  }),
});

Deno.test(
  "OutputFolder tries the disk without touching a file of others",
  inFolder((parent) => {
    const [path, mine] = [join(parent, "run"), join(parent, "mine.txt")];
    Deno.mkdirSync(path);
    Deno.writeTextFileSync(mine, "mine");
    Deno.symlinkSync(mine, join(path, "probe.tmp"));
    Deno.writeTextFileSync(join(path, "probe"), "mine");
    using _ = OutputFolder.open(path);
    for (const file of [mine, join(path, "probe.tmp"), join(path, "probe")]) {
      assertEquals(Deno.readTextFileSync(file), "mine");
    }
    const names = [...Deno.readDirSync(path)].map(({ name }) => name).sort();
    assertEquals(names, [".lock", "log.txt", "metrics.jsonl", "probe", "probe.tmp"]);
  }),
);

Deno.test({
  name: "OutputFolder says when the folder cannot be written",
  ignore: Deno.build.os !== "linux", // nobody may make folders in /proc, the superuser included
  fn() {
    const { message } = assertThrows(() => OutputFolder.open("/proc/seed-run"), UserError);
    assertStringIncludes(message, "cannot write /proc/seed-run: ");
    assert(!message.includes("\n"), "more than a message");
  },
});

Deno.test({
  name: "OutputFolder says when permission is missing",
  ignore: Deno.build.os === "windows" || Deno.uid() === 0, // the superuser has every permission
  fn: inFolder((path) => {
    Deno.chmodSync(path, 0o500);
    assertThrows(() => OutputFolder.open(path), UserError, "permission denied");
    Deno.chmodSync(path, 0o700);
  }),
});

Deno.test("OutputFolder.openNew() gives each of several processes a folder of its own", async () => {
  const parent = await Deno.makeTempDir({ prefix: "seed-output-" });
  const path = join(parent, "output", "distill-20251125-014512");
  const program = `
    import { OutputFolder } from ${
    JSON.stringify(import.meta.resolve("../../../cli/output/output_folder.ts"))
  };
    await Deno.stdin.read(new Uint8Array(1)); // until all are here
    using folder = OutputFolder.openNew(${JSON.stringify(path)});
    folder.begin({}, null);
    console.log(folder.path);
    await Deno.stdin.read(new Uint8Array(1));
  `;
  try {
    const config = fileURLToPath(new URL("../../../deno.json", import.meta.url));
    const module = `data:text/typescript,${encodeURIComponent(program)}`;
    const children = Array.from({ length: 4 }, () =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "--no-check", "-A", "--config", config, module],
        ...{ stdin: "piped", stdout: "piped" },
      }).spawn());
    const writers = children.map(({ stdin }) => stdin.getWriter());
    await Promise.all(writers.map((writer) => writer.write(new Uint8Array(1))));
    const paths = await Promise.all(children.map(async (child, i) => {
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      const { value } = await reader.read();
      await writers[i].close();
      await reader.cancel();
      await child.status;
      return value?.trim();
    }));
    assertEquals(paths.toSorted(), [path, ...[2, 3, 4].map((number) => `${path}-${number}`)]);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
});

Deno.test("OutputFolder keeps a second run out, as long as the first has it", () => {
  const path = Deno.makeTempDirSync();
  try {
    {
      using _first = OutputFolder.open(path);
      assertThrows(
        () => OutputFolder.open(path, "auto"),
        UserError,
        `another run is writing to this folder (process ${Deno.pid}, since 20`,
      );
    }
    OutputFolder.open(path)[Symbol.dispose]();
  } finally {
    Deno.removeSync(path, { recursive: true });
  }
});

Deno.test({
  name: "OutputFolder takes rows out of a metrics.jsonl that is longer than a string can be",
  ignore: !IS_LONG, // it takes half a GiB of the disk for temporary files
  fn: inFolder((path) => {
    const metrics = join(path, "metrics.jsonl");
    const rowOf = (step: number) => `{"epoch":0,"step":${step}}`;
    {
      // 513 rows of a MiB each.
      using file = Deno.openSync(metrics, { create: true, write: true });
      for (let step = 1; step <= 513; step++) {
        file.writeSync(new TextEncoder().encode(rowOf(step).padEnd(2 ** 20 - 1) + "\n"));
      }
    }
    assertThrows(() => OutputFolder.open(path), UserError, "513 rows in metrics.jsonl");
    using folder = OutputFolder.open(path, "auto");
    assertEquals(folder.dropMetricsFrom(0, 2), 511);
    const kept = Deno.readTextFileSync(metrics).split("\n").map((row) => row.trimEnd());
    assertEquals(kept, [rowOf(1), rowOf(2), ""]);
  }),
});
