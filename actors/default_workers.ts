/** How many reader Workers there are where nobody says it. */

/** More readers than these only take memory: each has some batches on their way. */
const MOST = 8;

/** One a core that the process may use, and at most eight. */
export const DEFAULT_WORKERS: number = Math.min(navigator.hardwareConcurrency, MOST);

/** The same for `--help`, on any machine. */
export const DEFAULT_WORKERS_NOTE: string = `default: one a core, at most ${MOST}`;
