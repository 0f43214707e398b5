/**
 * Programs that run again and again. The commands of a run are encoded as soon as the run before is submitted, while the device
 * computes: between two runs the device waits for no more than their inputs. Encoding hundreds of dispatches takes milliseconds.
 */
import type { Gpu } from "./gpu.ts";
import { encodePrograms, type Program } from "./program.ts";
import type { SubmissionTimer } from "./submission_timer.ts";

/** What is added to the commands of a run. */
type Finish = (encoder: GPUCommandEncoder) => void;

/** Some programs, one after the other. */
export class RepeatedRun {
  readonly programs: readonly Program[];
  readonly #gpu: Gpu;
  #commands: GPUCommandBuffer | undefined;

  constructor(gpu: Gpu, programs: readonly Program[]) {
    this.#gpu = gpu;
    this.programs = programs;
  }

  #encode(add: Finish): GPUCommandBuffer {
    const encoder = this.#gpu.device.createCommandEncoder({ label: this.programs.at(0)?.label });
    add(encoder);
    return encoder.finish();
  }

  /**
   * Submits a run, whose inputs have been written, and does not wait for it.
   *
   * @param finish encodes what comes after the programs
   */
  submit(finish?: Finish, timer?: SubmissionTimer): void {
    const encode = () => this.#encode((encoder) => encodePrograms(encoder, this.programs));
    const commands = this.#commands ?? encode();
    // Should the device refuse the run, its commands are not used again.
    this.#commands = undefined;
    const hasEnd = finish !== undefined || timer !== undefined;
    this.#gpu.device.queue.submit([
      ...timer === undefined ? [] : [this.#encode((encoder) => timer.begin(encoder))],
      commands,
      ...!hasEnd ? [] : [this.#encode((encoder) => {
        finish?.(encoder);
        timer?.end(encoder);
      })],
    ]);
    this.#gpu.check();
    this.#commands = encode();
  }
}

/** Repeated runs of one device, each of other programs. */
export class RepeatedRuns {
  readonly #gpu: Gpu;
  readonly #runs: RepeatedRun[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Submits a run of some programs; see {@linkcode RepeatedRun.submit}. */
  submit(programs: readonly Program[], finish?: Finish, timer?: SubmissionTimer): void {
    let run = this.#runs.find((run) =>
      run.programs.length === programs.length && run.programs.every((program, i) => program === programs[i])
    );
    if (run === undefined) this.#runs.push(run = new RepeatedRun(this.#gpu, programs));
    run.submit(finish, timer);
  }
}
