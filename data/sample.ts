/** Where the bundled sample is: small enough to carry, real enough to see the whole method work. */
import { fileURLToPath } from "node:url";

function pathOf(name: string): string {
  const url = new URL(name, import.meta.url);
  return url.protocol === "file:" ? fileURLToPath(url) : url.href; // nothing reads it from elsewhere
}

/** Folder with `train.tsv` (4,000 CIFAR-10 images) and `test.tsv` (1,000), and their `.lineidx`. */
export const SAMPLE_DATA: string = pathOf("./sample");

/** A MoCo-v2 checkpoint of a ResNet-18 that was trained on CIFAR-10. */
export const SAMPLE_TEACHER: string = pathOf("./sample/resnet18_moco_v2_cifar10.pth.tar");
