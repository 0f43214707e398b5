/** Every example, run as its own text says; some with all actors on one thread, which compiles each kernel once. */
import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import { join } from "node:path";
import { maxPixelsOfAdapter } from "../../mod.ts";
import { sampleRows } from "../actors/small_run.ts";
import { IS_LONG } from "../long.ts";
import { LIBRARY_ON_ONE_THREAD } from "../one_thread.ts";

const EXAMPLES = new URL("../../examples/", import.meta.url);

/** A process of an example, ended behind the test. */
class Example implements AsyncDisposable {
  readonly output: string = Deno.makeTempDirSync({ prefix: "seed_example_" });
  readonly #process: Deno.ChildProcess;
  readonly #text: Promise<string>;
  #seen = "";

  constructor(name: string, args: string[], flags: string[] = []) {
    const program = new URL(name, EXAMPLES).pathname;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", ...flags, program, ...args.map((arg) => this.#fill(arg))],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#text = this.#read();
  }

  #fill(arg: string): string {
    return arg === "OUTPUT" ? join(this.output, "run") : arg;
  }

  async #read(): Promise<string> {
    for await (const chunk of this.#process.stdout.pipeThrough(new TextDecoderStream())) this.#seen += chunk;
    return this.#seen;
  }

  /** What it has written when it has ended well. */
  async finish(): Promise<string> {
    const [text, errors, { code }] = await Promise.all([
      this.#text,
      new Response(this.#process.stderr).text(),
      this.#process.status,
    ]);
    assertEquals(code, 0, errors);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch { /* it has ended */ }
    await this.#process.status;
    if (!this.#process.stderr.locked) await this.#process.stderr.cancel();
    await this.#text;
    Deno.removeSync(this.output, { recursive: true });
  }
}

/** Asks a server until it answers. */
async function get(url: string, condition: (text: string) => boolean): Promise<string> {
  for (const end = performance.now() + 90_000;;) {
    const text = await fetch(url).then((response) => response.text(), () => "");
    if (condition(text)) return text;
    if (performance.now() > end) throw new Error(`${url} does not give what is waited for, but: ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}

for (const { name } of Deno.readDirSync(EXAMPLES)) {
  Deno.test(`examples/${name} has less than 80 lines, and says what it is`, () => {
    const lines = Deno.readTextFileSync(new URL(name, EXAMPLES)).trimEnd().split("\n");
    assertLess(lines.length, 80);
    assertEquals(lines[0], "/**");
  });
}

// As a plugin it is distilled in the quick suite: tests/cli/flags/plugin_test.ts.
Deno.test("examples/custom_encoder.ts distils into an encoder of its own, with a loss of its own", {
  ignore: !IS_LONG,
}, async () => {
  await using example = new Example("custom_encoder.ts", ["OUTPUT"], LIBRARY_ON_ONE_THREAD);
  const text = await example.finish();
  assertMatch(text, /^10 \d\.\d{3}\n20 \d\.\d{3}\n/);
  const path = text.trimEnd().split("\n").at(-1)!;
  assertMatch(path, /Student_tiny_convnet/);
  assertGreater(Deno.statSync(path).size, 1e5);
});

// An actor in the place of a built-in one is distilled with in the quick suite: tests/actors/faults_test.ts.
Deno.test("examples/camera.ts distils from images that no file holds", { ignore: !IS_LONG }, async () => {
  await using example = new Example("camera.ts", ["OUTPUT"], LIBRARY_ON_ONE_THREAD);
  assertMatch(await example.finish(), /^10 steps on 160 images an epoch\n5 [^]*\n10 steps, mean loss /);
});

Deno.test("examples/service.ts serves metrics while it distils, and saves when it is told to stop", async () => {
  const port = freePort();
  await using example = new Example("service.ts", ["OUTPUT", String(port)]);
  const url = `http://127.0.0.1:${port}`;
  const text = await get(`${url}/metrics`, (text) => /seed_step [3-9]/.test(text));
  assertMatch(text, /^seed_steps_planned 125\nseed_step \d+\nseed_loss [\d.]+\nseed_learning_rate [\d.]+\n/);
  assertMatch(text, /seed_actor_busy\{actor="student_trainer"\} 0\.\d{4}\n/);
  assertEquals((await fetch(`${url}/secret`)).status, 404);
  assertEquals(await (await fetch(`${url}/stop`, { method: "POST" })).text(), "stopped\n");
  assertMatch(
    await get(url, (text) => text.includes("ended")),
    /"state":"ended: stopped by a request; resume from [^"]+_0000\.pth\.tar"/,
  );
  assert([...Deno.readDirSync(join(example.output, "run"))].some(({ name }) => name.endsWith(".pth.tar")));
  // It listens on loopback alone.
  const others = Deno.networkInterfaces().filter(({ family, address }) =>
    family === "IPv4" && !address.startsWith("127.")
  );
  for (const { address } of others) {
    const isRefused = await Deno.connect({ hostname: address, port }).then((connection) => {
      connection.close();
      return false;
    }, () => true);
    assert(isRefused, `it answers at ${address}`);
  }
});

Deno.test("examples/image_search.ts finds the image that is asked for, and refuses what is none", async () => {
  const port = freePort();
  await using _example = new Example("image_search.ts", ["40", String(port)]);
  const url = `http://127.0.0.1:${port}/search`;
  await get(url, (text) => text.startsWith("POST"));
  const [name, , image] = sampleRows("train.tsv", 3).trimEnd().split("\n")[2].split("\t");
  const response = await fetch(url, { method: "POST", body: Uint8Array.fromBase64(image) });
  const found: { name: string; similarity: number }[] = await response.json();
  assertEquals(found.length, 5);
  assertEquals(found[0].name, name);
  assertLess(Math.abs(found[0].similarity - 1), 1e-5);
  const refused = await fetch(url, { method: "POST", body: "no image" });
  assertEquals([refused.status, /expected a JPEG, PNG, WebP/.test(await refused.text())], [400, true]);
  // More than the adapter makes views of is refused too, and the server goes on.
  const height = Math.ceil((await maxPixelsOfAdapter() + 1) / 4096);
  const large = new Blob([`P5 4096 ${height} 255\n`, new Uint8Array(4096 * height)]);
  const tooLarge = await fetch(url, { method: "POST", body: large });
  assertEquals([tooLarge.status, /found 4096 x \d+/.test(await tooLarge.text())], [400, true]);
  const again = await fetch(url, { method: "POST", body: Uint8Array.fromBase64(image) });
  assertEquals((await again.json())[0].name, name);
});
