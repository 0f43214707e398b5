/** Plugins whose folder has an import map: from the command line, in every Worker, and as names are resolved. */
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { findPluginImports, resolveName } from "../../actors/plugin_imports.ts";
import { importPlugins } from "../../actors/plugins.ts";
import { UserError } from "../../errors.ts";
import { runProgram, taskFlags } from "../cli/run_program.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "./small_run.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const command = (name: string) => join(ROOT, "cli/commands", `${name}.ts`);

/** A package of the lock, under another name than it has here. */
const PACKAGE = "npm:protobufjs@8.8.1";

const PLUGIN = `
import { globalAveragePool, projectionHead, registerEncoder } from "parts";
import { type Stem, stem } from "blocks/stem.ts";
import type { Nothing } from "types-alone"; // import "in-a-comment";
import "${TINY_ENCODER}";

const { util } = (await import("buffers")).default;
const shape: Stem = stem;
const said: Nothing | string = 'not from "a-string"';

registerEncoder({
  name: "mapped_net",
  family: "mine",
  roles: ["student"],
  ssl: "moco",
  head: "linear",
  features: util.toArray({ a: 8 })[0],
  trace(b, images, head) {
    const x = b.convolveAndNormalize(images, b.convolution("stem", shape), b.batchNorm("norm", 8), {
      activation: "relu",
    });
    const feature = b.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: projectionHead(b, "fc", 8, head)(feature) };
  },
});
`;

/** A folder with an import map of its own above the plugin; returns the plugin's path. */
function writeProject(folder: string): string {
  const files = {
    "deno.jsonc": `{
      // Names of this folder alone.
      "imports": {
        "parts": "${relative(folder, join(ROOT, "parts.ts"))}",
        "blocks/": "./src/blocks/", /* a folder */
        "buffers": "${PACKAGE}",
      },
    }`,
    "src/blocks/stem.ts": `
      import { alpha } from "blocks/alpha.ts";
      export type Stem = { inputs: number; outputs: number; kernel: number; stride: number; padding: number };
      export const stem: Stem = { inputs: 3, outputs: 8, kernel: 5, stride: 4, padding: alpha };`,
    "src/blocks/alpha.ts": "export const alpha = 2;",
    "plugins/net.ts": PLUGIN,
  };
  for (const [name, text] of Object.entries(files)) {
    Deno.mkdirSync(dirname(join(folder, name)), { recursive: true });
    Deno.writeTextFileSync(join(folder, name), text);
  }
  return join(folder, "plugins/net.ts");
}

Deno.test("a plugin's own import map holds on the command line, in every Worker, with the permissions that are said", async () => {
  using folder = new RunFolder(12);
  const project = join(Deno.realPathSync(folder.path), "mine");
  const plugin = writeProject(project);
  const output = join(folder.path, "run");
  const distilled = await runProgram(
    command("distill"),
    ...["--plugin", plugin, "-a", "mapped_net", "--distill", TINY_TEACHER, "--data", folder.data],
    ...[
      "--output",
      output,
      "-b",
      "4",
      "--queue",
      "16",
      "-j",
      "1",
      "--limit-steps",
      "2",
      "--image-size",
      "16",
    ],
    ...["--no-insight", "--no-tune"],
  );
  assertEquals(distilled.code, 0, distilled.stderr);
  assertMatch(distilled.stdout, /^student +mapped_net$/m);

  const [, name] = /^student +(\S+\.tar)$/m.exec(distilled.stdout)!;
  const inspect = ["--plugin", plugin, "--no-tensors", join(output, name)];
  const { stdout } = await runProgram(command("doctor"), "--json", "--permissions", "inspect", ...inspect);
  // Without the lock a package is known only when it is asked for.
  for (const flags of [taskFlags(command("inspect")), ["--no-lock", "--no-prompt", ...JSON.parse(stdout)]]) {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        ...flags.filter((flag: string) => flag !== "run"),
        command("inspect"),
        ...inspect,
      ],
      env: { NO_COLOR: "1" },
    }).output();
    const decoder = new TextDecoder();
    assertEquals([code, decoder.decode(stderr)], [0, ""], flags.join(" "));
    assertMatch(decoder.decode(stdout), /^encoder +student: mapped_net/m);
  }
});

Deno.test("findPluginImports() finds nothing where the program's own map says the same, and takes this copy of the library", () => {
  using folder = new RunFolder(4);
  const path = (name: string) => join(folder.path, name);
  const plugin = pathToFileURL(path("plugin.ts")).href;
  const write = (config: unknown) => Deno.writeTextFileSync(path("deno.json"), JSON.stringify(config));
  write({ imports: { "@seed/distillation/parts": join(ROOT, "parts.ts") } });
  assertEquals(findPluginImports(plugin), undefined);
  write({
    imports: { "seed": "jsr:@seed/distillation@^0.1.0", "seed/parts": "jsr:@seed/distillation@0.1.0/parts" },
  });
  const { names } = findPluginImports(plugin)!;
  assertEquals(
    [names["seed"], names["seed/parts"]],
    ["mod.ts", "parts.ts"].map((name) => pathToFileURL(join(ROOT, name)).href),
  );
  write({ importMap: "maps/a.json" });
  Deno.mkdirSync(path("maps"));
  Deno.writeTextFileSync(
    path("maps/a.json"),
    JSON.stringify({ imports: { b: "./b.ts", c: "https://c.example/" } }),
  );
  const mapped = findPluginImports(plugin)!;
  assertEquals([mapped.names.b, mapped.names.c], [
    pathToFileURL(path("maps/b.ts")).href,
    "https://c.example/",
  ]);
  assertEquals(mapped.files, [path("deno.json"), path("maps/a.json"), path("maps/b.ts")]);
  Deno.writeTextFileSync(path("deno.json"), '{ "imports": ');
  assertThrows(() => findPluginImports(plugin), UserError, "deno.json: expected JSON, found");
});

Deno.test("resolveName() takes a name, a folder's longest prefix, and what is in a package, of one folder's modules alone", () => {
  const names = {
    a: "npm:a@1",
    "b/": "file:///m/b/",
    "b/c/": "file:///m/c/",
    d: "file:///m/d.ts",
    e: "jsr:@e/e@2",
  };
  const resolve = (name: string, parent = "file:///m/x/y.ts") =>
    resolveName(name, parent, { folder: "file:///m/", names, files: [] });
  assertEquals(
    ["a", "a/sub", "b/1.ts", "b/c/2.ts", "d", "e/f", "d/x", "ab", "./a", "toString"].map((name) =>
      resolve(name)
    ),
    [
      ...["npm:a@1", "npm:a@1/sub", "file:///m/b/1.ts", "file:///m/c/2.ts", "file:///m/d.ts", "jsr:@e/e@2/f"],
      ...[undefined, undefined, undefined, undefined],
    ],
  );
  assertEquals(resolve("a", "file:///other/y.ts"), undefined);
});

Deno.test("a name that neither map has is an error that says what to do", async () => {
  using folder = new RunFolder(4);
  const plugin = writeProject(join(folder.path, "mine"));
  Deno.writeTextFileSync(plugin, 'import "parts"; import "nobodys-name";');
  await assertRejects(
    () => importPlugins([pathToFileURL(plugin).href]),
    UserError,
    "or name them in the imports of a deno.json in the plugin's folder or above",
  );
});
