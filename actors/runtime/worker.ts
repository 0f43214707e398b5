/**
 * What runs first in every actor's Worker. It loads the actor's module itself, so that an error in there is caught with
 * its name and stack, and reports every other way in which the Worker can fail.
 */

import { type Crash, describeFailure, restoreError } from "./failure.ts";
import { ActorHost } from "./host.ts";
import { ActorRef, Link } from "./ref.ts";
import { unpack } from "./transfer.ts";
import type { Control, Report } from "./wire.ts";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const close = scope.close.bind(scope);
let host: ActorHost;
let graceMs: number;
let hasEnded = false;

function report(report: Report): void {
  scope.postMessage(report);
}

async function end(crash?: Crash): Promise<void> {
  const stats = host.stats(); // of before its links are closed
  const failure = await host.stop(graceMs, crash);
  if (hasEnded) return;
  hasEnded = true;
  report({ kind: "stopped", failure, stats });
  close();
}

async function start(
  { name, incarnation, url, config, credits, imports, traces, port }: Control & { kind: "start" },
): Promise<void> {
  const onCrash = (crash: Crash) => {
    report({ kind: "crashed", crash });
    end(crash);
  };
  host = new ActorHost(
    { name, incarnation, credits },
    onCrash,
    traces ? (spans) => report({ kind: "spans", spans }) : undefined,
  );
  host.mailbox.connect(port);
  const define = async () => {
    for (const other of imports) await import(other);
    const definition = (await import(url)).default;
    if (typeof definition?.start !== "function") {
      throw new TypeError(`${url}: expected a default export made by defineActor()`);
    }
    return definition;
  };
  const isReady = await host.start(
    define,
    unpack(config, (shared) => new ActorRef(new Link(shared, host.endpoint))),
  );
  if (isReady) report({ kind: "ready" });
}

scope.onmessage = (event: MessageEvent<Control>) => {
  const control = event.data;
  switch (control.kind) {
    case "start":
      graceMs = control.graceMs;
      start(control);
      break;
    case "drain":
      host.drain().then((isDrained) => isDrained && report({ kind: "drained" }));
      break;
    case "stop":
      end();
      break;
    case "fail":
      host.fail(restoreError(control.failure));
      break;
    case "ended":
      host.hearOfEnd(control.actor, control.incarnation);
      break;
    case "stats":
      report({ kind: "stats", id: control.id, stats: host.stats() });
  }
};

scope.addEventListener("error", (event) => {
  event.preventDefault();
  host.fail(event.error ?? new Error(event.message));
});
scope.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  host.fail(event.reason);
});
// self.close() and Deno.exit() in a Worker end that Worker alone, without a word to anybody.
scope.close = () => host.fail(new Error("self.close() was called; use stop() to end an actor"));
scope.addEventListener("unload", () => {
  if (hasEnded) return;
  const failure = describeFailure(new Error("Deno.exit() was called; use stop() to end an actor"));
  report({ kind: "crashed", crash: { actor: host.endpoint.name, failure } });
  report({ kind: "stopped" });
});
