/** Decodes one image and answers with it (for decode_test.ts). */
import { decodeImage } from "../../data/decode.ts";

const scope = self as unknown as Worker;
scope.onmessage = async ({ data }) => scope.postMessage(await decodeImage(data));
