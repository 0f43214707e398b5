import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { UserError } from "../../errors.ts";
import type { PageMessage } from "../../ui/records.ts";
import { type PageServer, servePage } from "../../ui/server.ts";
import { MOST_CLIENTS } from "../../ui/watchers.ts";
import { RecordedRun, recordOf } from "./recorded_run.ts";

/** The news of a page, one after the other; with the images of a run by its number. */
async function* newsOf(url: string, run = 0): AsyncGenerator<PageMessage> {
  const response = await fetch(`${url}events?run=${run}`);
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n\n");
    rest = parts.pop()!;
    for (const part of parts) yield JSON.parse(part.replace(/^data: /, ""));
  }
}

function portOf(page: PageServer): number {
  return Number(new URL(page.url).port);
}

/** Connects to a page and sends it something. */
async function connect(page: PageServer, text: string): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: portOf(page) });
  await connection.write(new TextEncoder().encode(text));
  return connection;
}

async function take(news: AsyncGenerator<PageMessage>, count: number): Promise<PageMessage[]> {
  const taken: PageMessage[] = [];
  while (taken.length < count) taken.push((await news.next()).value!);
  return taken;
}

/** A message without the time at which it was told, which is now. */
function timeless(message: PageMessage): object {
  const { now, ...rest } = message as PageMessage & { now?: number };
  assert(Math.abs(Date.now() - now!) < 30_000, `${now}`);
  return rest;
}

Deno.test("servePage tells everything, then the news, and to a second one everything too", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 3);
  await using page = await servePage([run.path], { port: 0 });
  const news = newsOf(page.url);
  // Runs, record, config, actors, five insights, metrics, scores, stats.
  const first = await take(news, 12);
  assertEquals(timeless(first[0]), { kind: "runs", names: [run.path], isLive: true, begins: true });
  run.addSteps(4, 5);
  run.write("run.json", { ...recordOf(), status: "finished" });
  const seen: PageMessage[] = [];
  while (seen.length < 2) seen.push((await news.next()).value!);
  const metrics = seen.find((message) => message.kind === "metrics")!;
  assertEquals(metrics.points.map(([step]) => step), [4, 5]);

  const other = newsOf(page.url);
  const all = await take(other, 12);
  assertEquals(all.find((message) => message.kind === "metrics")!.points.length, 5);
  await other.return(undefined);
  await news.return(undefined);
});

Deno.test("servePage tells of all runs, and images of the one that is asked for; runs that are found later too", async () => {
  using first = new RecordedRun();
  using second = new RecordedRun();
  await first.writeAll();
  await second.writeAll();
  const found = [first.path];
  await using page = await servePage(() => Promise.resolve(found), { port: 0 });
  const news = newsOf(page.url);
  // Runs, record, config, actors, five insights, metrics, scores, stats.
  await take(news, 12);
  found.push(second.path);
  const later: PageMessage[] = [];
  while (!later.some((message) => message.kind === "scores")) later.push(...await take(news, 1));
  assertEquals(timeless(later[0]), { kind: "runs", names: found, isLive: true });
  const look = JSON.parse(Deno.readTextFileSync(`${second.path}/insight/look.json`));
  second.write("insight/look.json", { ...look, step: look.step + 1 });
  second.addSteps(1, 2);
  while (!later.some((message) => message.kind === "metrics" && message.points.length === 2)) {
    later.push(...await take(news, 1));
  }
  assertEquals(later.filter(({ kind }) => kind === "diagnostics"), []);
  await news.return(undefined);
  const other = newsOf(page.url, 1);
  const all = await take(other, 18);
  const numbers = all.flatMap((message) => message.kind === "diagnostics" ? [message.run] : []);
  assertEquals(numbers, [1, 1, 1, 1, 1]);
  await other.return(undefined);
});

Deno.test("servePage goes on telling news right after a look that took long", async () => {
  using run = new RecordedRun();
  run.addSteps(1, 3);
  let looks = 0;
  const find = async () => {
    if (looks++ === 0) await new Promise((resolve) => setTimeout(resolve, 1000));
    return [run.path];
  };
  await using page = await servePage(find, { port: 0 });
  const news = newsOf(page.url);
  await take(news, 4); // runs, metrics, scores, stats
  const start = performance.now();
  run.addSteps(4, 5);
  const [metrics] = await take(news, 1);
  assertEquals([metrics.kind, performance.now() - start < 5000], ["metrics", true]);
  await news.return(undefined);
});

Deno.test("servePage gives the page and its files, and nothing else", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  await using page = await servePage([run.path], { port: 0 });
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
  for (const path of ["", "page.css", "events"]) {
    const { status, text } = await get(path, { method: "HEAD" });
    assertEquals([path, status, text], [path, 200, ""]);
  }
  for (const method of ["POST", "PUT", "DELETE"]) assertEquals((await get("", { method })).status, 405);
});

/** Asks for the page by a name, or without one. Returns the status line. */
async function askFor(page: PageServer, host: string): Promise<string> {
  using connection = await connect(page, `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  return (await new Response(connection.readable).text()).split("\r\n")[0];
}

Deno.test("servePage answers this machine only, and no page of another name that leads here", async () => {
  using run = new RecordedRun();
  await using page = await servePage([run.path], { port: 0 });
  const port = portOf(page);
  assertEquals(page.warning, undefined);
  assertStringIncludes(await askFor(page, `localhost:${port}`), "200");
  assertStringIncludes(await askFor(page, `127.0.0.1:${port}`), "200");
  for (const host of ["evil.example", "localhost.evil.example", "", "192.168.0.1", "a b"]) {
    assertMatch(await askFor(page, host), / 40[03] /, host);
  }
  const others = Deno.networkInterfaces().filter(({ family, address }) =>
    family === "IPv4" && !address.startsWith("127.")
  );
  for (const { address } of others) {
    const refused = await Deno.connect({ hostname: address, port }).then(
      (connection) => connection.close(),
      () => "refused",
    );
    assertEquals(refused, "refused", address);
  }
});

Deno.test("servePage at every address says so, and answers to addresses and this machine's name alone", async () => {
  using run = new RecordedRun();
  await using page = await servePage([run.path], { port: 0, hostname: "0.0.0.0" });
  const port = portOf(page);
  assertEquals(
    page.warning,
    "the page is served on 0.0.0.0: everyone who can reach this machine can read the run",
  );
  for (const host of ["localhost", "127.0.0.1", `192.168.0.1:${port}`, "[fe80::1]", Deno.hostname()]) {
    assertStringIncludes(await askFor(page, host), "200", host);
  }
  for (const host of ["evil.example", `${Deno.hostname()}.evil.example`, "1.2.3.4.evil.example"]) {
    assertStringIncludes(await askFor(page, host), "403", host);
  }
});

Deno.test("servePage at another address of this machine alone gives a URL of it, and warns of nobody", async () => {
  using run = new RecordedRun();
  const hosts = { "::1": "[::1]", "0:0:0:0:0:0:0:1": "[::1]", "[::1]": "[::1]", localhost: "localhost" };
  for (const [hostname, shown] of Object.entries(hosts)) {
    await using page = await servePage([run.path], { port: 0, hostname });
    assertEquals([new URL(page.url).hostname, page.warning], [shown, undefined]);
    const response = await fetch(page.url);
    assertEquals(response.status, 200, page.url);
    await response.body!.cancel();
  }
  for (const hostname of ["a b", "127.0.0.1:80", "::1/x", "[::1", ""]) {
    await assertRejects(() => servePage([run.path], { port: 0, hostname }), UserError, "is no address");
  }
});

Deno.test("servePage says which permission an address needs, before it listens", {
  permissions: { net: ["127.0.0.1", "0.0.0.0"], read: true, env: true, sys: true },
}, async () => {
  for (const [hostname, host] of [["192.0.2.1", "192.0.2.1"], ["::1", "[::1]"], ["::", "[::]"]]) {
    await assertRejects(
      () => servePage([], { port: 0, hostname }),
      UserError,
      `cannot serve the page on ${host}: that needs --allow-net=${host}. `,
    );
  }
  await using page = await servePage([], { port: 0, hostname: "localhost" });
  assertEquals(page.warning, undefined);
});

const ASK_FOR_NEWS = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";

/** Waits until something is so; a page that never gets there fails the test. */
async function until(isSo: () => boolean, what: () => string): Promise<void> {
  const end = performance.now() + 30_000;
  while (!isSo()) {
    assert(performance.now() < end, `still not so after 30 s: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

/** Bytes that are held. */
function heldBytes(): number {
  collectGarbage();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** What each file handle of this process leads to. */
function openHandles(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      return [Deno.readLinkSync(`/proc/self/fd/${name}`)];
    } catch {
      return []; // that of the folder itself
    }
  });
}

Deno.test("servePage survives clients that do not read, go away at once, or send a byte at a time", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 10);
  const problems: unknown[] = [];
  await using page = await servePage([run.path], { port: 0, onProblem: (error) => problems.push(error) });
  const before = Deno.build.os === "linux" ? openHandles() : [];
  const held = heldBytes();
  // One of too many connections is cut off, and that is fine.
  const attempt = async (attack: () => Promise<void>) => {
    try {
      await attack();
    } catch (error) {
      const { ConnectionReset, BrokenPipe } = Deno.errors;
      if (!(error instanceof ConnectionReset || error instanceof BrokenPipe)) throw error;
    }
  };

  let gone = 0;
  await Promise.all(Array.from({ length: 40 }, async () => {
    while (gone++ < 2000) {
      await attempt(async () => {
        using client = await connect(page, ASK_FOR_NEWS);
        await client.read(new Uint8Array(100)); // gone in the middle of the first news
      });
    }
  }));

  run.addSteps(11, 20_000); // more than a connection takes in by itself, so that it is written as the client reads
  const bytes = [...new TextEncoder().encode(ASK_FOR_NEWS)].map((byte) => Uint8Array.of(byte));
  const open: Deno.Conn[] = [];
  await Promise.all(Array.from({ length: 500 }, (_, i) =>
    attempt(async () => {
      const readsNothing = i % 2 === 0;
      const client = await connect(page, readsNothing ? ASK_FOR_NEWS : "");
      open.push(client);
      if (!readsNothing) { for (const byte of bytes.slice(0, i % bytes.length)) await client.write(byte); }
    })));
  run.addSteps(20_001, 20_003);
  for (const client of open) client.close();
  assertEquals(problems, []);
  if (Deno.build.os === "linux") {
    const more = () => openHandles().filter((handle) => !before.includes(handle));
    await until(() => openHandles().length <= before.length + 1, () => `${more().join(", ")} are open`);
  }
  // The run itself has grown, by 20,000 points.
  const most = held + 16 * 2 ** 20;
  await until(() => heldBytes() < most, () => `${heldBytes()} bytes are held, not ${held}`);

  const news = newsOf(page.url);
  const all = await take(news, 12);
  assertEquals(all.find((message) => message.kind === "metrics")!.last!.step, 20_003);
  await news.return(undefined);
});

Deno.test("servePage cuts off requests that never end, and ends itself with clients that do not read", async () => {
  using run = new RecordedRun();
  run.addSteps(1, 10_000);
  const page = await servePage([run.path], { port: 0, requestMs: 1000 });
  for (const part of ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX: "]) {
    using client = await connect(page, part);
    const answer = await new Response(client.readable).text().catch(() => ""); // ends when the page hangs up
    assertEquals(answer.includes(" 200 "), false);
  }
  using _silent = await connect(page, ASK_FOR_NEWS);
  const news = newsOf(page.url);
  await take(news, 4);
  await page[Symbol.asyncDispose]();
  assertEquals((await news.next()).done, true);
});

Deno.test("servePage answers again when requests that never end have taken all its connections", async () => {
  using run = new RecordedRun();
  await using page = await servePage([run.path], { port: 0, requestMs: 400 });
  const ask = "GET / HTTP/1.1\r\nHost: localhost\r\n";
  const half = await Promise.all(
    Array.from({ length: 300 }, () => connect(page, ask).catch(() => undefined)),
  );
  let isAnswered = false;
  const attempt = async () => {
    using client = await connect(page, `${ask}Connection: close\r\n\r\n`);
    isAnswered ||= (await new Response(client.readable).text()).startsWith("HTTP/1.1 200");
  };
  await until(() => {
    attempt().catch(() => {}); // refused while there are too many
    return isAnswered;
  }, () => "an answer");
  for (const client of half) client?.close();
});

Deno.test("servePage takes so many clients, tells the next one to wait, and takes it when one has gone", async () => {
  using run = new RecordedRun();
  await using page = await servePage([run.path], { port: 0 });
  const ask = () => fetch(`${page.url}events`);
  const taken: Response[] = [];
  for (let i = 0; i < MOST_CLIENTS; i++) taken.push(await ask());
  assertEquals(taken.find(({ status }) => status !== 200), undefined);
  const refused = await ask();
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "3"]);
  assertMatch(await refused.text(), /open in too many places/);
  await taken.pop()!.body!.cancel();
  let status = 503;
  for (let i = 0; i < 200 && status === 503; i++) {
    const response = await ask();
    status = response.status;
    await response.body!.cancel();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(status, 200);
  for (const { body } of taken) await body!.cancel();
});

Deno.test("servePage says when a port is taken, and looks for a free one where none is named", async () => {
  using run = new RecordedRun();
  await using first = await servePage([run.path]);
  await using second = await servePage([run.path]);
  assert(first.url !== second.url);
  const port = Number(new URL(first.url).port);
  if (port !== 8686) {
    await assertRejects(() => servePage([run.path], { port }), UserError, `port ${port} is in use`);
  }
  await using other = await servePage([run.path], { port: 0 });
  const taken = Number(new URL(other.url).port);
  await assertRejects(() => servePage([run.path], { port: taken }), UserError, `port ${taken} is in use`);
});
