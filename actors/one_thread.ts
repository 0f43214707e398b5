/** Whether actors run in Workers of their own, or all on one thread with one device. */

import { shareDevice } from "../kernels/gpu.ts";

let isOne = false;

/** Whether the actors of the systems that are made from now on run on this thread. */
export function isOneThread(): boolean {
  return isOne;
}

/**
 * Has the actors of the systems that are made from now on run on this thread, or in Workers of their own, as usual. On one thread
 * they share one device, and a kernel that any of them compiled is there for all, and for the systems that come later.
 */
export function setOneThread(oneThread: boolean): void {
  isOne = oneThread;
  shareDevice(oneThread);
}
