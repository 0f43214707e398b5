/** What can go wrong with an actor, and how an error crosses a wall without losing its name, message, stack or cause. */

import { UserError } from "../../errors.ts";

/** An error as plain data. */
export interface Failure {
  /** The error's name, e.g. `RangeError`. */
  name: string;
  /** The error's message. */
  message: string;
  /** The error's stack in the actor. */
  stack?: string;
  /** Whether it was a `UserError`, of which only the message is shown. */
  isUserError: boolean;
  /** The error's own cause. */
  cause?: Failure;
}

/** Crash of an actor. */
export interface Crash {
  /** Name of the actor. */
  actor: string;
  /** The error. */
  failure: Failure;
  /** Whether the actor had not handled a message yet. Default: `false`. */
  isEarly?: boolean;
}

/**
 * Error of an actor that threw in its start, a handler, a timer or an unawaited promise, or while its module was
 * loaded. `cause` is the error itself, with its stack in the actor; it is a `UserError` if it was one there.
 */
export class ActorCrash extends Error implements Crash {
  /** `ActorCrash` */
  override name = "ActorCrash";
  /** Name of the actor. */
  readonly actor: string;
  /** The error, as plain data. */
  readonly failure: Failure;
  /** Whether the actor had not handled a message yet, as far as it is known. */
  readonly isEarly: boolean;

  /** Made by the runtime. */
  constructor({ actor, failure, isEarly = false }: Crash) {
    super(`actor "${actor}" crashed: ${failure.name}: ${failure.message}`, { cause: restoreError(failure) });
    this.actor = actor;
    this.failure = failure;
    this.isEarly = isEarly;
    // Where the report arrived is of no interest: what is printed is this line and the cause's stack.
    this.stack = `${this.name}: ${this.message}`;
  }

  /** Whether the cause is a `UserError`, of which only the message is shown. */
  get isUserError(): boolean {
    return this.failure.isUserError;
  }
}

/** Error of a message that cannot be sent, because the actor was stopped or is draining, or the sender must stop. */
export class ActorStopped extends Error {
  /** `ActorStopped` */
  override name = "ActorStopped";
  /** Name of the actor. */
  readonly actor: string;

  /** Made by the runtime. */
  constructor(
    actor: string,
    how:
      | "has stopped and accepts"
      | "is draining and accepts"
      | "was released and gets"
      | "is stopping and sends" = "has stopped and accepts",
  ) {
    super(`actor "${actor}" ${how} no more messages`);
    this.actor = actor;
  }
}

/** Error of an ask that got no reply in time. A later reply is dropped. */
export class AskTimeout extends Error {
  /** `AskTimeout` */
  override name = "AskTimeout";
  /** Name of the actor that did not answer. */
  readonly actor: string;
  /** Name of the message. */
  readonly messageName: string;
  /** How long the ask waited, in ms. */
  readonly timeoutMs: number;

  /** Made by the runtime. */
  constructor(actor: string, messageName: string, timeoutMs: number) {
    super(`actor "${actor}" did not answer "${messageName}" within ${timeoutMs} ms`);
    this.actor = actor;
    this.messageName = messageName;
    this.timeoutMs = timeoutMs;
  }
}

/** Error of an actor that did not start in time. */
export class StartTimeout extends Error {
  /** `StartTimeout` */
  override name = "StartTimeout";

  /** Made by the runtime. */
  constructor(actor: string, timeoutMs: number) {
    super(
      `actor "${actor}" was not ready within ${timeoutMs} ms; a slow start needs a larger startTimeoutMs`,
    );
  }
}

/** Causes of causes that are looked at: an error may be among its own. */
const MAX_CAUSES = 16;

/**
 * Returns the errors that were thrown at once, the first one first: where `using` ends what failed already, and that fails too,
 * there are two in one `SuppressedError`, whose own message says nothing of them.
 */
export function errorsIn(caught: unknown): unknown[] {
  const later: unknown[] = [];
  let first = caught;
  for (; first instanceof SuppressedError; first = first.suppressed) later.unshift(...errorsIn(first.error));
  return [first, ...later];
}

/** What is said between the messages of errors that were thrown at once. */
const ON_TOP = "; and on top of it: ";

/** Joins what is said of each of the errors that were thrown at once. */
export function joinErrors(texts: readonly string[]): string {
  return texts.join(ON_TOP);
}

/**
 * Makes plain data of anything that was thrown. Of errors that were thrown at once it is the first one, with the messages of all.
 *
 * @param causes how many causes it may have
 */
export function describeFailure(error: unknown, causes = MAX_CAUSES): Failure {
  const [first, ...later] = errorsIn(error).map((each) => describeOne(each, causes));
  return later.length === 0
    ? first
    : { ...first, message: joinErrors([first, ...later].map(({ message }) => message)) };
}

function describeOne(error: unknown, causes: number): Failure {
  if (!(error instanceof Error)) {
    return {
      name: "Error",
      message: `${String(error)} was thrown, which is not an Error`,
      isUserError: false,
    };
  }
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    isUserError: error instanceof UserError,
    cause: error.cause === undefined || causes === 0 ? undefined : describeFailure(error.cause, causes - 1),
  };
}

/** The opposite of {@linkcode describeFailure}; the class is `UserError` or `Error`, the name is kept. */
export function restoreError(failure: Failure): Error {
  const cause = failure.cause === undefined ? undefined : { cause: restoreError(failure.cause) };
  const error = failure.isUserError
    ? new UserError(failure.message, cause)
    : new Error(failure.message, cause);
  error.name = failure.name;
  error.stack = failure.stack ?? `${failure.name}: ${failure.message}`;
  return error;
}

/**
 * Returns a crash for a `UserError` as one that has its message and names the actor, and the crash as its `cause`; any other error as
 * it is.
 */
export function asUserError(error: unknown): unknown {
  if (!(error instanceof ActorCrash && error.isUserError)) return error;
  return new UserError(`${error.failure.message} (in ${error.actor})`, { cause: error });
}

/** Who is to blame: an actor that fails because another one crashed is not. */
export function blame(actor: string, error: unknown): Crash {
  let [cause] = errorsIn(error);
  for (let depth = 0; cause instanceof Error && depth <= MAX_CAUSES; depth++, cause = cause.cause) {
    if (cause instanceof ActorCrash) return { actor: cause.actor, failure: cause.failure };
  }
  return { actor, failure: describeFailure(error) };
}

/** Whether an actor failed only because another one had been stopped before it. */
export function isCausedByStop(failure: Failure): boolean {
  return failure.name === "ActorStopped" || (failure.cause !== undefined && isCausedByStop(failure.cause));
}
