/** Actors that work for a run which may be traced and profiled. */
import type { Emit, TraceEvents, WarningEvent } from "../actors/events.ts";
import { watchdogOf } from "../actors/notices.ts";
import { workerImports } from "../actors/plugins.ts";
import { ProfileCollector, type RunProfile } from "../actors/run_profile.ts";
import { ActorSystem, type TraceSpan } from "../actors/runtime/mod.ts";

/** Diagnostics that cost time. */
export interface Wanted {
  /** Trace all actors, and time every kernel at the end. */
  profile?: boolean;
  /** Report every message that an actor handles, and what the actor waits for. */
  trace?: boolean;
}

/** Where the time went; where this is asked for. */
export interface ProfileEvent extends RunProfile {
  /** Type of the event. */
  type: "profile";
}

/**
 * Runs a system of actors. A profile is emitted at the end, of a run that fails too.
 *
 * @param work spawns the actors; it is given what gathers kernels' times, where a profile is wanted
 */
export async function runActors<Result>(
  plugins: string[] | undefined,
  wanted: Wanted,
  emit: Emit<WarningEvent | TraceEvents | ProfileEvent>,
  work: (system: ActorSystem, profile: ProfileCollector | undefined) => Promise<Result>,
): Promise<Result> {
  const profile = wanted.profile ? new ProfileCollector() : undefined;
  // An abort must not stop the actors before the checkpoint is written, so the system does not get the signal.
  const system = new ActorSystem({
    ...(wanted.profile || wanted.trace) && {
      onTrace(actor: string, spans: readonly TraceSpan[]) {
        if (wanted.trace) emit({ type: "trace", actor, spans });
        profile?.take(actor, spans);
      },
    },
    imports: workerImports(plugins),
    watchdog: watchdogOf(emit),
  });
  try {
    return await system.run(() => work(system, profile));
  } finally {
    if (profile !== undefined) emit({ type: "profile", ...profile.result() });
  }
}
