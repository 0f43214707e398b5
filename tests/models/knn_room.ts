/** Asks the device for the room of a bank of so many rows of 2,048 features, and prints the error. */
import { openGpu } from "../../kernels/gpu.ts";
import { requireBankRoom } from "../../models/knn.ts";

const gpu = await openGpu("room", null, "Use less");
try {
  await requireBankRoom(gpu, 2048, Number(Deno.args[0]));
  console.log("there is room");
} catch (error) {
  console.log(String(error));
} finally {
  gpu.destroy();
}
