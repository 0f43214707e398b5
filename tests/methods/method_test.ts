import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  distill,
  type DistillInput,
  type DistillOptions,
  embed,
  linearProbe,
  type Method,
  METHODS,
  sampleOptions,
  startMethod,
  StoppedError,
} from "../../mod.ts";
import { UserError } from "../../errors.ts";

Deno.test("a training that is stopped before it begins says so as any that is stopped, and where to go on", async () => {
  const reason = new Error("Ctrl-C");
  const signal = AbortSignal.abort(reason);
  const output = "/never";
  for (const [resume, checkpoint] of [["/a.pth.tar", "/a.pth.tar"], ["auto", null], [null, null]] as const) {
    const { result } = distill(sampleOptions({ output, resume }), { signal });
    const error = await assertRejects(() => result, StoppedError, "Ctrl-C");
    assertEquals([error.checkpoint, error.cause], [checkpoint, reason]);
  }
  const run = linearProbe({ pretrained: "/b.pth.tar", data: "/c", output });
  await run.stop();
  const error = await assertRejects(() => run.result, StoppedError, "the run was stopped");
  assertEquals(error.checkpoint, null);
});

Deno.test("the error of a missing permission names the folders of a run's own actors too", async () => {
  const method: Method<DistillInput, DistillOptions, never, never> = {
    ...METHODS.seed,
    resolve: () => Promise.reject(new Deno.errors.NotCapable('Requires read access to "/x"')),
    run: () => Promise.reject(new Error("did not begin")),
  };
  const actors = { encoder: "file:///a/mine/encoder.ts", tsv_reader: "https://example.com/reader.ts" };
  const run = startMethod(method, sampleOptions({ output: "/never", plugins: [], actors }), {});
  const { message } = await assertRejects(() => run.result, UserError);
  assertMatch(message, /needs: deno run --allow-read=\S*,\/a\/mine[, ]/);
});

Deno.test({
  name: "the error of data that may not be read names all permissions that the run needs",
  permissions: { read: [] },
  async fn() {
    const run = embed({ pretrained: "/mine/e.pth.tar", data: "/mine/data" });
    const { message } = await assertRejects(() => run.result, UserError);
    assertMatch(message, /^Requires read access to "\/mine\/data".*needs: deno run --allow-read=/);
  },
});
