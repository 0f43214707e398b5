/** Sizes above which input is refused before memory is taken for it: what a file says of itself is not trusted. */

/** Bytes of a row of a TSV file. A base64 column must fit a JavaScript string (2^29 - 24 units). */
export const MAX_ROW_BYTES: number = 256 << 20;

/** Bytes of an image's file: those whose base64 fits a row, with room for the key and the label. */
export const MAX_IMAGE_BYTES: number = (MAX_ROW_BYTES >> 2) * 3 - (1 << 16);

/** Bytes of a file with an image's label or other facts about it (`.cls`, `.json`). */
export const MAX_LABEL_BYTES: number = 4 << 20;
