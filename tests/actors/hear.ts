/** Listening to a run in tests. */

/** One function for events of a run, by what is to be done about each type; the others are not listened to. */
export function hear<Event extends { type: string }>(
  handlers: { [Type in Event["type"]]?: (event: Extract<Event, { type: Type }>) => void },
): (event: Event) => void {
  return (event) => {
    const handle = handlers[event.type as Event["type"]] as ((event: Event) => void) | undefined;
    handle?.(event);
  };
}
