import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import {
  ActorCrash,
  ActorStopped,
  blame,
  describeFailure,
  isCausedByStop,
  restoreError,
} from "../../../actors/runtime/failure.ts";
import { UserError } from "../../../errors.ts";

class MissingFileError extends UserError {
  override name = "MissingFileError";
}

Deno.test("restoreError() gives back name, message, stack and causes", () => {
  const error = new RangeError("outer", { cause: new TypeError("inner") });
  const restored = restoreError(structuredClone(describeFailure(error)));
  assertEquals(restored.name, "RangeError");
  assertEquals(restored.message, "outer");
  assertEquals(restored.stack, error.stack);
  assertInstanceOf(restored.cause, Error);
  assertEquals(restored.cause.name, "TypeError");
});

Deno.test("restoreError() makes a UserError of a UserError, under its own name", () => {
  const restored = restoreError(describeFailure(new MissingFileError("a.tsv: expected a file")));
  assertInstanceOf(restored, UserError);
  assertEquals(restored.name, "MissingFileError");
  assert(!(restoreError(describeFailure(new Error("a bug"))) instanceof UserError));
});

Deno.test("describeFailure() says what was thrown when it is no Error", () => {
  assertStringIncludes(describeFailure("text").message, "text was thrown");
  assertStringIncludes(describeFailure(undefined).message, "undefined was thrown");
});

Deno.test("blame() names the actor whose crash made another one fail", () => {
  const first = new ActorCrash({ actor: "teacher", failure: describeFailure(new Error("out of memory")) });
  const crash = blame("augmenter", new Error("could not send", { cause: first }));
  assertEquals(crash.actor, "teacher");
  assertEquals(crash.failure.message, "out of memory");
  assertEquals(blame("augmenter", new Error("own")).actor, "augmenter");
});

Deno.test("an error that is its own cause is described and blamed", () => {
  const error = new Error("round and round");
  error.cause = new Error("and round", { cause: error });
  const crash = blame("augmenter", error);
  assertEquals([crash.actor, crash.failure.message], ["augmenter", "round and round"]);
  assert(!isCausedByStop(crash.failure));
});

Deno.test("isCausedByStop() looks through the causes", () => {
  const error = new Error("could not send", { cause: new ActorStopped("teacher") });
  assert(isCausedByStop(describeFailure(error)));
  assert(!isCausedByStop(describeFailure(new Error("own"))));
});
