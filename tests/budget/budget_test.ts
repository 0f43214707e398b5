/**
 * Work, not time: what a training step and a teacher's run dispatch, multiply and move must be what `budget.json` says.
 * More of it is a slow-down that no shared machine's clock would show; less of it is to be recorded:
 *
 *     SEED_RECORD=1 deno test -A tests/budget
 */
import { assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { GPU_PARALLELISM, type Target } from "../../kernels/gpu.ts";
import { INITIAL_LOSS_SCALE } from "../../kernels/ops/loss_scale/loss_scale.ts";
import { type Schedule, totalWork } from "../../kernels/schedule.ts";
import { GPU_TUNING, softwareTuning } from "../../kernels/tuning/tuning.ts";
import { scheduleEncoder } from "../../models/inference.ts";
import { findEncoder } from "../../models/registry.ts";
import { scheduleStep, type StudentStepOptions } from "../../methods/seed/step.ts";

/** What is recorded of one piece of work. */
interface Budget {
  dispatches: number;
  /** Operations of products, in millions. */
  megaFlops: number;
  /** Bytes that the dispatches bind, and bytes that the plan takes beside parameters. */
  megabytesMoved: number;
  megabytesHeld: number;
}

const LIMITS = {
  maxTextureDimension2D: 8192,
  maxStorageTexturesPerShaderStage: 8,
  maxWorkgroupsPerDimension: 65535,
  vectorLanes: 8,
};
const TARGETS: Readonly<Record<string, Target>> = {
  software: {
    isSoftware: true,
    hasSubgroups: true,
    maxStorageBufferBindingSize: 128 * 2 ** 20,
    tuning: softwareTuning(8, true),
    arenaBytes: 2 ** 24,
    parallelism: 4,
    ...LIMITS,
  },
  gpu: {
    isSoftware: false,
    hasSubgroups: false,
    maxStorageBufferBindingSize: 2 ** 31 - 4,
    tuning: GPU_TUNING,
    arenaBytes: 2 ** 31 - 4,
    parallelism: GPU_PARALLELISM,
    ...LIMITS,
  },
};

const HEAD = { kind: "mlp", dimension: 128 } as const;

const AGAIN: Partial<StudentStepOptions> = { checkpointActivations: true };
const MIXED: Partial<StudentStepOptions> = { mixedPrecision: true, lossScale: INITIAL_LOSS_SCALE };

/** The pieces of work, by name: [encoder, batch, side of the images, what is special]. */
const WORK: Readonly<Record<string, (target: Target) => Schedule[]>> = {
  ...Object.fromEntries(
    ([
      ["resnet18", 32, 64, {}],
      ["resnet50", 32, 64, {}],
      ["mobilenetv3_large", 32, 64, {}],
      ["efficientnet_b0", 32, 64, {}],
      ["efficientnet_b0", 8, 224, {}],
      ["resnet50", 8, 224, AGAIN],
      ["efficientnet_b0", 8, 224, AGAIN],
      ["resnet50", 32, 64, MIXED],
      ["efficientnet_b0", 8, 224, MIXED],
    ] as const).map(([name, batch, imageSize, options]) => [
      `${name} training step, ${batch} x ${imageSize} px` +
      (options === AGAIN ? ", activations computed again" : options === MIXED ? ", mixed precision" : ""),
      (target: Target) =>
        scheduleStep(target, {
          encoder: findEncoder(name),
          head: HEAD,
          batch,
          imageSize,
          queueSize: 65_536,
          temperature: 0.2,
          teacherTemperature: 0.01,
          momentum: 0.9,
          weightDecay: 1e-4,
          ...options,
        }),
    ]),
  ),
  "resnet50 embedding, 8 x 224 px": (target) => [
    scheduleEncoder(target, {
      encoder: findEncoder("resnet50"),
      head: HEAD,
      batch: 8,
      imageSize: 224,
      output: "normalized",
    }),
  ],
};

const FILE = new URL("./budget.json", import.meta.url);

/** The schedules of a piece of work, which more than one test measures and which take a while to make. */
const made = new Map<string, Schedule[]>();
function schedulesOf(name: string, on: string): Schedule[] {
  const key = `${name} on ${on}`;
  const schedules = made.get(key) ?? WORK[name](TARGETS[on]);
  made.set(key, schedules);
  return schedules;
}

/** Of all programs together. */
function measure(schedules: readonly Schedule[]): Budget {
  const sum = (of: (schedule: Schedule) => number) =>
    schedules.reduce((all, schedule) => all + of(schedule), 0);
  const mega = (value: number) => Math.round(value / 1e5) / 10;
  return {
    dispatches: sum((schedule) => totalWork(schedule).dispatches),
    megaFlops: mega(sum((schedule) => totalWork(schedule).flops)),
    megabytesMoved: mega(sum((schedule) => totalWork(schedule).bytes)),
    megabytesHeld: mega(sum(({ plan }) => plan.bytes)),
  };
}

Deno.test("a step's dispatches, operations and bytes are what was recorded", () => {
  const found = Object.fromEntries(
    Object.keys(WORK).map((name) => [
      name,
      Object.fromEntries(Object.keys(TARGETS).map((on) => [on, measure(schedulesOf(name, on))])),
    ]),
  );
  if (Deno.env.get("SEED_RECORD") === "1") {
    Deno.writeTextFileSync(FILE, JSON.stringify(found, null, 2) + "\n");
    return;
  }
  assertEquals(
    found,
    JSON.parse(Deno.readTextFileSync(FILE)),
    "if it is less work, or more for a good reason, record it: SEED_RECORD=1 deno test -A tests/budget",
  );
});

Deno.test("a step holds no more than 1.15 times what must be alive at its peak", () => {
  for (const name of Object.keys(WORK)) {
    for (const on of Object.keys(TARGETS)) {
      const [{ plan: { bytes, peakBytes } }] = schedulesOf(name, on);
      assertLess(bytes, 1.15 * peakBytes, `${name} on ${on}`);
    }
  }
});

Deno.test("totalWork() counts a convolution's operations three times in training, but for the input's gradient", () => {
  // ResNet-18's 1.81 G multiply-accumulates at 224 are 0.148 G at 64; the stem's input takes no gradient.
  const [gradients] = schedulesOf("resnet18 training step, 32 x 64 px", "gpu");
  const { flops } = totalWork(gradients);
  assertAlmostEquals(flops / 32, 2 * 3 * 0.148e9, 0.1 * 2 * 3 * 0.148e9);
});
