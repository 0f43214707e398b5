// Of both passes of the resize.
struct ResizeRecord {
  // Index in `source` of the first pixel of the crop box that is needed.
  source_offset: u32,
  source_width: u32,
  // Needed rows, and where they begin in `rows`.
  row_count: u32,
  row_offset: u32,
  // Where the tables (resize_table.ts) of the two axes begin, and their weights per output pixel.
  column_table: u32,
  column_taps: u32,
  row_table: u32,
  row_taps: u32,
  view: u32,
  // 1 where a blend with the mean comes next: its luma is summed.
  @size(12) wants_mean: u32,
}

@group(0) @binding(0) var<uniform> records: array<ResizeRecord, RECORD_BYTES / 48u>;
