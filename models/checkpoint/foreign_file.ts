import { decodeLatin1 } from "./byte_source.ts";
import { quote } from "./checkpoint_error.ts";

/**
 * Says what a file is that is not a checkpoint: most are failed downloads or other formats.
 *
 * @param head the first bytes, 512 where there are as many
 * @param size bytes of the whole file
 */
export function describeForeignFile(head: Uint8Array, size: number): string {
  if (size === 0) return "is empty; copy or download it again";
  const expected = "expected a file written by torch.save, or a safetensors file";
  const text = decodeLatin1(head);
  if (text.slice(257, 262) === "ustar") {
    return "is a tar archive, the container of PyTorch before 0.1.10 or a packed folder; open it in PyTorch or " +
      "unpack it, and save it again with torch.save";
  }
  if (text.startsWith("\x1f\x8b")) return `is compressed with gzip; ${expected}: decompress it first`;
  if (text.startsWith("\x89HDF")) return `is an HDF5 file (Keras); ${expected}`;
  if (text.startsWith("version https://git-lfs")) {
    return "is a Git LFS pointer, not the file itself; run git lfs pull";
  }
  if (text.startsWith("\x80")) {
    return `is a pickle, but not one of torch.save (or its start is damaged); ${expected}`;
  }
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) {
    return `is a web page, not a checkpoint: ${quote(text.slice(0, 60))}; the download failed`;
  }
  return `starts with ${quote(text.slice(0, 30))}; ${expected}`;
}
