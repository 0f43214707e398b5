/** What a run that trains an encoder tells besides its steps: statistics of some, traces of its actors, and a profile. */
import type { TraceEvents } from "../../actors/events.ts";
import type { StatsEvent } from "../../methods/encoder_training/events.ts";
import type { ProfileEvent } from "../../methods/watched_actors.ts";
import type { StatsRow } from "../../ui/records.ts";
import { describeProfile, writeTrace } from "../output/profile_report.ts";
import type { RunEvents } from "../output/tensorboard/run_events.ts";
import type { Stage } from "./training.ts";

/** Keeps and shows all that. */
export class RunDiagnostics {
  readonly #stage: Stage;
  readonly #output: string;
  readonly #step: { actor: string; message: string };
  #profile: ProfileEvent | undefined;

  /**
   * @param output folder that the profile is written to
   * @param step the message that a step is
   */
  constructor(stage: Stage, output: string, step: { actor: string; message: string }) {
    this.#stage = stage;
    this.#output = output;
    this.#step = step;
  }

  /** Takes what the run tells. */
  take(event: StatsEvent | TraceEvents | ProfileEvent, runEvents: RunEvents | undefined): void {
    const { recorder, shown, tensorBoard } = this.#stage;
    if (event.type === "trace") return recorder.trace(event.actor, event.spans);
    if (event.type === "profile") return void (this.#profile = event);
    const { epoch, step, gradientNorms, weightNorms, deviceSeconds, deviceBytes, processBytes } = event;
    const row: StatsRow = {
      ...{ epoch, step, time: Date.now() / 1000 },
      ...{ gradient_norms: gradientNorms, weight_norms: weightNorms },
      ...{ device_seconds: deviceSeconds, device_bytes: deviceBytes, process_bytes: processBytes },
    };
    recorder.stats(row);
    shown.tell("stats", row);
    tensorBoard(() => runEvents?.stats(event));
  }

  /** Shows the profile, and writes its trace, when all else is written. */
  async conclude(): Promise<void> {
    const { folder, shown, nameOf } = this.#stage;
    const profile = this.#profile;
    if (profile === undefined) return;
    const tables = shown.effort.attempt("the profile", () => describeProfile(profile, this.#step));
    for (const table of tables ?? []) shown.report(`${table}\n`);
    if (folder.isKept) return;
    const write = async () => await writeTrace(this.#output, profile);
    const trace = await shown.effort.attempt("profile.json", write);
    if (trace !== undefined) shown.report(`trace     ${nameOf(trace)}`);
  }
}
