import { assertEquals, assertThrows } from "@std/assert";
import { loadSharp } from "../../../../data/sharp.ts";
import { crc32c, maskedCrc32c } from "../../../../cli/output/tensorboard/crc32c.ts";
import { EventWriter } from "../../../../cli/output/tensorboard/event_writer.ts";
import { RunEvents } from "../../../../cli/output/tensorboard/run_events.ts";
import { viewSheet } from "../../../../cli/output/tensorboard/view_sheet.ts";
import { UserError } from "../../../../errors.ts";
import { withFolder } from "../../../models/checkpoint/fixtures.ts";
import { eventFiles, readEvents } from "./event_file.ts";

const sharp = await loadSharp();

Deno.test("crc32c() gives the sums of RFC 3720", () => {
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assertEquals(maskedCrc32c(new Uint8Array()), 0xa282ead8);
});

Deno.test("EventWriter writes records that the specification's reader takes apart again", async () => {
  await withFolder(async (folder) => {
    const pixels = Uint8Array.from({ length: 9 * 4 * 4 * 4 }, (_, i) => i * 7 % 256);
    const sheet = await viewSheet(pixels, 9, 4);
    {
      using writer = new EventWriter(folder, () => 1_764_000_000_500);
      writer.scalar("train_loss", 6.25, 3);
      writer.scalar("learning_rate", 0.03, 2 ** 40);
      writer.image("views", sheet, 0);
    }
    const [path] = eventFiles(folder);
    const events = readEvents(path);
    assertEquals(events.map(({ wallTime }) => wallTime), new Array(4).fill(1_764_000_000.5));
    assertEquals(events[0].fileVersion, "brain.Event:2");
    assertEquals([events[1].tag, events[1].scalar, events[1].step], ["train_loss", 6.25, 3]);
    assertEquals([events[2].scalar, events[2].step], [Math.fround(0.03), 2 ** 40]);
    const { height, width, colorspace, png } = events[3].image!;
    assertEquals([height, width, colorspace], [8, 32, 3]);
    // The ninth view begins the second row.
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
    assertEquals([info.width, info.height, info.channels], [32, 8, 3]);
    const at = (4 * 32 + 2) * 3;
    assertEquals([...data.subarray(at, at + 3)], [
      ...pixels.subarray((8 * 16 + 2) * 4, (8 * 16 + 2) * 4 + 3),
    ]);
  });
  assertThrows(() => new EventWriter("/no/such/folder"), UserError, "cannot write");
});

Deno.test("EventWriter leaves the file of a run that this process began within the same second", async () => {
  await withFolder((folder) => {
    for (const loss of [3, 2, 1]) {
      using writer = new EventWriter(folder, () => 1_764_000_000_500);
      writer.scalar("step_loss", loss, 1);
    }
    const scalars = eventFiles(folder).map((path) => readEvents(path).map(({ scalar }) => scalar));
    assertEquals(scalars, [[undefined, 3], [undefined, 2], [undefined, 1]], "in the order of their names");
    return Promise.resolve();
  });
});

Deno.test("EventWriter names its file behind those that are there, whatever the clock says", async () => {
  await withFolder((folder) => {
    for (
      const [loss, second] of [[4, 1_764_000_000], [3, 1_763_999_000], [2, 1_763_999_001], [1, 1_764_000_100]]
    ) {
      using writer = new EventWriter(folder, () => 1000 * second);
      writer.scalar("step_loss", loss, 1);
    }
    const events = eventFiles(folder).map((path) => readEvents(path)[1]);
    assertEquals(events.map(({ scalar }) => scalar), [4, 3, 2, 1], "in the order of their names");
    assertEquals(events[1].wallTime, 1_763_999_000);
    return Promise.resolve();
  });
});

Deno.test("RunEvents writes norms by group of layers, device time and memory, and no time that is unknown", async () => {
  await withFolder((folder) => {
    {
      using writer = new EventWriter(folder);
      const events = new RunEvents(writer, { stepsPerEpoch: 3, batchSize: 10 });
      const stats = {
        epoch: 0,
        gradientNorms: { conv1: 0.25, layer1: NaN },
        weightNorms: { conv1: 8, layer1: 16 },
        deviceBytes: 2 ** 30,
        processBytes: 2 ** 31,
      };
      events.stats({ ...stats, step: 50, deviceSeconds: 0.5 });
      events.stats({ ...stats, step: 100, deviceSeconds: undefined });
    }
    const [path] = eventFiles(folder);
    const scalars = readEvents(path).slice(1).map(({ tag, scalar, step }) => [tag, scalar, step]);
    const of = (step: number, ...device: unknown[][]) => [
      ["gradient_norm/conv1", 0.25, step],
      ["gradient_norm/layer1", NaN, step],
      ["weight_norm/conv1", 8, step],
      ["weight_norm/layer1", 16, step],
      ...device,
      ["device_bytes", 2 ** 30, step],
      ["process_bytes", 2 ** 31, step],
    ];
    assertEquals(scalars, [...of(50, ["device_seconds", 0.5, 50]), ...of(100)]);
    return Promise.resolve();
  });
});

Deno.test("RunEvents has the mean of an epoch's finite losses, those before a resume among them", () => {
  const means: number[] = [];
  const writer: Pick<EventWriter, "scalar"> = {
    scalar: (tag, value) => void (tag === "train_loss" && means.push(value)),
  };
  const losses = [9, NaN];
  const events = new RunEvents(writer as EventWriter, { stepsPerEpoch: 4, batchSize: 10, losses });
  for (const [i, loss] of [NaN, 6, 5, NaN, 4, 3, NaN, NaN, NaN, NaN].entries()) {
    events.step({ epoch: Math.floor((i + 2) / 4), step: i + 3, loss, lr: 1 });
  }
  assertEquals(means, [7.5, 4, NaN]);
});

Deno.test("RunEvents gives the rate of an epoch without the wait for the run's first step, and none of one step", () => {
  const written: [string, number, number][] = [];
  const writer = {
    scalar: (tag: string, value: number, step: number) => void written.push([tag, value, step]),
  };
  const clock = { now: 0 };
  const events = new RunEvents(writer as EventWriter, {
    stepsPerEpoch: 3,
    batchSize: 10,
    now: () => clock.now,
  });
  for (const [step, now] of [[3, 60_000], [4, 61_000], [5, 62_000], [6, 63_000]]) {
    clock.now = now;
    events.step({ epoch: Math.ceil(step / 3) - 1, step, loss: 1, lr: 0.1 });
  }
  assertEquals(written.filter(([tag]) => tag === "images_per_second"), [["images_per_second", 10, 1]]);
});

Deno.test("RunEvents gives the rate of an epoch without the tests for which training waits", () => {
  const rates: number[] = [];
  const writer = {
    scalar: (tag: string, value: number) => void (tag === "images_per_second" && rates.push(value)),
  };
  let now = 0;
  const events = new RunEvents(writer as unknown as EventWriter, {
    stepsPerEpoch: 3,
    batchSize: 10,
    now: () => now,
  });
  events.pause(); // a resumed run may begin with one
  for (let step = 1; step <= 9; step++) {
    now += 1000;
    events.step({ epoch: Math.ceil(step / 3) - 1, step, loss: 1, lr: 0.1 });
    if (step % 3 !== 0) continue;
    now += 60_000;
    events.pause();
  }
  assertEquals(rates, [10, 10, 10]);
});
