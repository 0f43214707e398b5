/** How a run tells of what is not as expected: each thing once. */
import type {
  Emit,
  Monitor,
  NoteEvent,
  NoticeEvent,
  ProgressEvent,
  ReaderEvent,
  WarningEvent,
} from "./events.ts";
import type { DatasetOptions, FindOptions } from "../data/open_dataset.ts";
import type { ActorRef, ActorSystem, Restart, WatchdogOptions } from "./runtime/mod.ts";

/** Passes events on, with each warning once: what one reader of some data finds, the others find too. */
export function withWarningsOnce<Event extends { type: string }>(
  emit: Emit<Event | NoticeEvent>,
): Emit<Event | NoticeEvent> {
  const given = new Set<string>();
  return (event) => {
    if (event.type === "warning") {
      const { text } = event as WarningEvent;
      if (given.has(text)) return;
      given.add(text);
    }
    return emit(event);
  };
}

/** {@linkcode Emit} of warnings as text. */
export function warnerOf(emit: Emit<WarningEvent>): (text: string) => void {
  return (text) => emit({ type: "warning", text });
}

/** What is told while data is looked for, as events. */
export function findingListener(emit: Emit<NoteEvent>): FindOptions {
  return { onNote: (text) => emit({ type: "note", text }) };
}

/** What data tells while it is opened, as events; an abort ends that. */
export function dataListener(
  emit: Emit<WarningEvent | ProgressEvent>,
  signal?: AbortSignal,
): DatasetOptions {
  return {
    signal,
    onWarning: warnerOf(emit),
    onProgress: (done, total) => emit({ type: "progress", phase: "reading", done, total }),
  };
}

/**
 * The run's ear for its actors. Rows that are broken become warnings, each row once: several readers may meet the same one,
 * and need not give the same reason, since they share what the decoder notes errors in.
 *
 * @param handle takes all other events
 */
export function listenToActors<Event extends { type: string } = WarningEvent>(
  system: ActorSystem,
  emit: Emit<WarningEvent>,
  handle: (event: Event | WarningEvent) => void | Promise<void> = (event) => {
    if (event.type === "warning") emit(event as WarningEvent);
  },
): ActorRef<Monitor<Event | ReaderEvent>> {
  const known = new Set<string>();
  return system.listen<Monitor<Event | ReaderEvent>>("monitor", {
    event(event) {
      if (event.type !== "broken-row") return handle(event as Event | WarningEvent);
      const { file, row, text } = event as Extract<ReaderEvent, { type: "broken-row" }>;
      const place = `${file}:${row}`;
      if (known.has(place)) return;
      known.add(place);
      emit({ type: "warning", text: `${text} (skipped; ${known.size} so far)` });
    },
  });
}

/** Reports that actors are restarted, and why. */
export function describeRestart(emit: Emit<WarningEvent>): (restart: Restart) => void {
  return ({ crash, actors, count, repeats }) => {
    const same = repeats > 1 ? `; this crash came ${repeats} times without progress` : "";
    emit({
      type: "warning",
      text: `${crash.message}; restarting these actors: ${actors.join(", ")} (restart ${count}${same})`,
    });
  };
}

/** Warns when nothing moves. */
export function watchdogOf(emit: Emit<WarningEvent>): WatchdogOptions {
  return { onStall: ({ text }) => emit({ type: "warning", text }) };
}
