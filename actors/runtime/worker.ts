/**
 * What runs first in every actor's Worker. It loads the actor's module itself, so that an error in there is caught with
 * its name and stack, and reports every other way in which the Worker can fail.
 */

import { ControlledActor } from "./controlled_actor.ts";
import { describeFailure } from "./failure.ts";
import type { Control, Report } from "./wire.ts";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const close = scope.close.bind(scope);
const report = (report: Report) => scope.postMessage(report);
const actor = new ControlledActor({ report, close });

scope.onmessage = (event: MessageEvent<Control>) => actor.take(event.data);
scope.addEventListener("error", (event) => {
  event.preventDefault();
  actor.fail(event.error ?? new Error(event.message));
});
scope.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  actor.fail(event.reason);
});
// self.close() and Deno.exit() in a Worker end that Worker alone, without a word to anybody.
scope.close = () => actor.fail(new Error("self.close() was called; use stop() to end an actor"));
scope.addEventListener("unload", () => {
  if (actor.hasEnded) return;
  const failure = describeFailure(new Error("Deno.exit() was called; use stop() to end an actor"));
  report({ kind: "crashed", crash: { actor: actor.name, failure } });
  report({ kind: "stopped" });
});
