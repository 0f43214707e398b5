import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import type { PageMessage } from "../../ui/records.ts";
import { servePage } from "../../ui/server.ts";
import { RecordedRun, recordOf } from "./recorded_run.ts";

/** The news of a page, one after the other. */
async function* newsOf(url: string): AsyncGenerator<PageMessage> {
  const response = await fetch(`${url}events`);
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n\n");
    rest = parts.pop()!;
    for (const part of parts) yield JSON.parse(part.replace(/^data: /, ""));
  }
}

async function take(news: AsyncGenerator<PageMessage>, count: number): Promise<PageMessage[]> {
  const taken: PageMessage[] = [];
  while (taken.length < count) taken.push((await news.next()).value!);
  return taken;
}

Deno.test("servePage tells everything, then the news, and to a second one everything too", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 3);
  await using page = servePage([run.path], { port: 0 });
  const news = newsOf(page.url);
  // Runs, record, config, actors, five insights, metrics, scores.
  const first = await take(news, 11);
  assertEquals(first[0], { kind: "runs", names: [run.path], isLive: true });
  run.addSteps(4, 5);
  run.write("run.json", { ...recordOf(), status: "finished" });
  const seen: PageMessage[] = [];
  while (seen.length < 2) seen.push((await news.next()).value!);
  const metrics = seen.find((message) => message.kind === "metrics")!;
  assertEquals(metrics.points.map(([step]) => step), [4, 5]);

  const other = newsOf(page.url);
  const all = await take(other, 11);
  assertEquals(all.find((message) => message.kind === "metrics")!.points.length, 5);
  await other.return(undefined);
  await news.return(undefined);
});

Deno.test("servePage gives the page and its files, and nothing else", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  await using page = servePage([run.path], { port: 0 });
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(page.url + path, init);
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const index = await get("");
  assertEquals(index.status, 200);
  assertMatch(index.headers.get("content-security-policy")!, /default-src 'none'/);
  for (const [, path] of index.text.matchAll(/(?:src|href)="([\w./-]+)"/g)) {
    assertEquals((await get(path)).status, 200, path);
  }
  const module = await get("page/main.ts");
  assertMatch(module.headers.get("content-type")!, /^text\/javascript/);
  assert(!module.text.includes("PageMessage[]"), "types are for the compiler");
  for (const path of ["config.json", "page/none.ts", "..%2f..%2fetc/passwd", "page/../records.ts", "page/"]) {
    assertEquals((await get(path)).status, 404, path);
  }
  for (const method of ["POST", "PUT", "DELETE"]) assertEquals((await get("", { method })).status, 405);
});

Deno.test("servePage answers this machine only, and no page of another name that leads here", async () => {
  using run = new RecordedRun();
  await using page = servePage([run.path], { port: 0 });
  const { port } = new URL(page.url);
  const ask = async (host: string) => {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    await connection.write(
      new TextEncoder().encode(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
    );
    return (await new Response(connection.readable).text()).split("\r\n")[0];
  };
  assertStringIncludes(await ask(`localhost:${port}`), "200");
  assertStringIncludes(await ask(`127.0.0.1:${port}`), "200");
  assertStringIncludes(await ask("evil.example"), "403");
  const others = Deno.networkInterfaces().filter(({ family, address }) =>
    family === "IPv4" && !address.startsWith("127.")
  );
  for (const { address } of others) {
    const refused = await Deno.connect({ hostname: address, port: Number(port) }).then(
      (connection) => connection.close(),
      () => "refused",
    );
    assertEquals(refused, "refused", address);
  }
});

Deno.test("servePage says when a port is taken, and looks for a free one where none is named", async () => {
  using run = new RecordedRun();
  await using first = servePage([run.path]);
  await using second = servePage([run.path]);
  assert(first.url !== second.url);
  const port = Number(new URL(first.url).port);
  if (port !== 8686) assertThrows(() => servePage([run.path], { port }), UserError, `port ${port} is taken`);
  await using other = servePage([run.path], { port: 0 });
  const taken = Number(new URL(other.url).port);
  assertThrows(() => servePage([run.path], { port: taken }), UserError, `port ${taken} is taken`);
});
