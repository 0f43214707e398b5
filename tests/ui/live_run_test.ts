/** A real run with its page, in a real browser. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";
import { taskFlags } from "../cli/run_program.ts";
import { ONE_THREAD } from "../one_thread.ts";
import { testInBrowser } from "./browser.ts";

const PROGRAM = fileURLToPath(new URL("../../cli/commands/distill.ts", import.meta.url));

function freePort(): number {
  using listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  return listener.addr.port;
}

testInBrowser(
  "distill --ui shows the run while it trains; killed and gone on with, the page goes on too",
  async (open) => {
    using folder = new RunFolder(40, 10);
    const port = freePort();
    const output = join(folder.path, "out");
    const start = () =>
      new Deno.Command(Deno.execPath(), {
        args: [
          ...taskFlags(PROGRAM),
          PROGRAM,
          ...[
            "--data",
            folder.data,
            "--distill",
            TINY_TEACHER,
            "--plugin",
            TINY_ENCODER,
            "-a",
            "tiny_convnet",
            "--output",
            output,
          ],
          ...[
            "-b",
            "4",
            "--queue",
            "16",
            "--image-size",
            "32",
            "-j",
            "1",
            "--epochs",
            "1000",
            "--knn-k",
            "5",
          ],
          ...["--keep", "2", "--resume", "auto", "--no-tune", "--ui", String(port)],
        ],
        stdin: "null",
        stdout: "null",
        stderr: "null",
        env: ONE_THREAD,
      }).spawn();
    const { page } = await open();
    const stepsShown = async () =>
      Number(/(\d+) of 10000/.exec((await page.locator("#now").textContent())!)?.[1] ?? 0);
    const waitFor = async (isThere: () => Promise<boolean>) => {
      const end = Date.now() + 180_000; // a busy machine takes a minute to find neighbours
      while (!await isThere()) {
        if (Date.now() > end) throw new Error(`the page says: ${await page.locator("header").textContent()}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    const hasText = (id: string, text: string) => async () =>
      (await page.locator(`#${id}`).textContent())!.includes(text);

    let run = start();
    try {
      await waitFor(async () => await page.goto(`http://localhost:${port}/`).then(() => true, () => false));
      await waitFor(async () => await stepsShown() > 15);
      const before = await stepsShown();
      await waitFor(async () => await stepsShown() > before);
      await waitFor(hasText("look-said", "SEED's loss for the first image is"));
      await waitFor(hasText("neighbours-said", "Student before"));
      await waitFor(hasText("bottleneck", "Bottleneck: "));
      await waitFor(hasText("now", "time left"));

      run.kill("SIGKILL");
      await run.status;
      await waitFor(hasText("status", "Connection lost"));
      run = start();
      await waitFor(hasText("status", "Running"));
      const resumed = await stepsShown();
      await waitFor(async () => await stepsShown() > Math.max(before, resumed));
      run.kill("SIGINT");
      assertEquals((await run.status).code, 130);
      await waitFor(hasText("status", "Interrupted"));
      const report = Deno.readTextFileSync(join(output, "report.html"));
      assertMatch(report, /"status":"interrupted"/);
    } finally {
      try {
        run.kill("SIGKILL");
      } catch {
        // it has ended
      }
    }
  },
);
