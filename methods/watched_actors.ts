/** Actors that work for a run which may be traced and profiled. */
import type adapterMeter from "../actors/adapter_meter.ts";
import type { Emit, TraceEvents, WarningEvent } from "../actors/events.ts";
import { watchdogOf } from "../actors/notices.ts";
import { isOneThread } from "../actors/one_thread.ts";
import { workerImports } from "../actors/plugins.ts";
import { PATIENCE } from "../actors/pipeline.ts";
import { ProfileCollector, type RunProfile } from "../actors/run_profile.ts";
import { ActorSystem, type SystemOptions, type TraceSpan } from "../actors/runtime/mod.ts";
import type { Ceilings } from "../kernels/ceilings.ts";
import { DeviceLostError } from "../kernels/gpu.ts";

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

/** A system whose actors import some plugins first, and whose standstills are told of. */
export function openSystem(
  plugins: string[] | undefined,
  emit: Emit<WarningEvent>,
  options: Pick<SystemOptions, "onTrace"> = {},
): ActorSystem {
  return new ActorSystem({
    ...options,
    // It counts the rows of a large file, reads weights, compiles kernels: how long that takes nobody knows.
    startTimeoutMs: Infinity,
    imports: workerImports(plugins),
    watchdog: watchdogOf(emit),
    mayPass: ({ name }) => name === DeviceLostError.name,
    oneThread: isOneThread(),
  });
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
  const system = openSystem(plugins, emit, {
    ...(wanted.profile || wanted.trace) && {
      onTrace(actor: string, spans: readonly TraceSpan[]) {
        if (wanted.trace) emit({ type: "trace", actor, spans });
        profile?.take(actor, spans);
      },
    },
  });
  try {
    return await system.run(() => work(system, profile));
  } finally {
    if (profile !== undefined) {
      const fail = (error: Error) => {
        const text = `what the adapter does at most could not be measured: ${error.message}`;
        emit({ type: "warning", text });
      };
      const ceilings = profile.hasPrograms ? await ceilingsOfAdapter().catch(fail) : undefined;
      emit({ type: "profile", ...profile.result(), ...ceilings && { ceilings } });
    }
  }
}

/**
 * Measures what the adapter does at most, when no actor of the run uses it any more. In an actor: a software adapter divides the
 * processors among those of a run, and this thread has asked for its adapter before.
 */
async function ceilingsOfAdapter(): Promise<Ceilings | undefined> {
  const system = new ActorSystem({ oneThread: isOneThread() });
  return await system.run(() => {
    const url = new URL("../actors/adapter_meter.ts", import.meta.url);
    return system.spawn<typeof adapterMeter>("ceilings", url, undefined).ref.ask(
      "measure",
      undefined,
      PATIENCE,
    );
  });
}
