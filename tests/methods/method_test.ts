import { assertEquals, assertRejects } from "@std/assert";
import { distill, linearProbe, sampleOptions, StoppedError } from "../../mod.ts";

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
