//! The matrices that a convolution's inputs and weights become where bf16 values are multiplied.

use crate::graph::{Conv, Window};
use crate::kernels::{gather, matmul};
use crate::vector::{TILE_LANES, TILE_ROWS};

/// Inputs and outputs of a segment of a convolution by tiles, whose segments are equal.
pub fn segment_sizes(conv: &Conv) -> [u32; 2] {
    conv.partition.equal_sizes().unwrap_or([conv.partition.ic(), conv.partition.oc()])
}

/// The part of a row of tiles that may be padding for windows to be gathered by rows of taps: one
/// of so many.
const PADDING: u64 = 12;

/// What a row of a matrix holds of a convolution's windows, and how many such rows a sum is over.
///
/// Where neighbouring rows of pixels share rows of taps, a row holds a single row of taps: each is
/// gathered once and read for every row of pixels that it belongs to. Otherwise it holds the whole
/// window.
pub fn gathered(conv: &Conv) -> (Window, u32) {
    let Window { kernel: [kh, kw], strides, dilation, pads } = conv.window;
    let vectors = u64::from(segment_sizes(conv)[0].div_ceil(TILE_LANES)) * u64::from(kw);
    let shares_rows = kh > 1 && strides[0] == 1 && dilation[0] == 1;
    // Every row of pixels then reads some row of the image, by which those above and below it are
    // told.
    let reads_rows = pads.top < kh && pads.bottom < kh;
    if shares_rows && reads_rows && vectors % 2 * PADDING <= vectors {
        return (Window { kernel: [1, kw], ..conv.window }, kh);
    }
    (conv.window, 1)
}

/// Chunks of inputs in a row of the matrix of a segment of a convolution.
pub fn row_chunks(conv: &Conv) -> u64 {
    gather::vectors(segment_sizes(conv)[0], gathered(conv).0.taps()) / 2
}

/// Chunks of inputs that tiles multiply in a segment of a convolution.
pub fn chunks(conv: &Conv) -> u64 {
    row_chunks(conv) * u64::from(gathered(conv).1)
}

/// Words of the weights and of the biases of a segment for tiles.
pub fn tile_words(conv: &Conv, parts: u32) -> [u64; 2] {
    let tiles = u64::from(segment_sizes(conv)[1].div_ceil(TILE_LANES));
    [matmul::panel_bytes(chunks(conv), tiles, u64::from(parts)) / 4, tiles * u64::from(TILE_LANES)]
}

/// Bytes between rows of `chunks` chunks: an odd number of cache lines, so that the rows of a tile
/// do not compete for the same places of the cache.
pub fn row_step(chunks: u64) -> u64 {
    (chunks | 1) * 64
}

/// Bytes of a plane of the matrix of `pixels` pixels of a convolution with a result `width` pixels
/// wide: rows of whole tiles, and the rows that sums over rows of taps reach beyond them.
pub fn plane_bytes(conv: &Conv, pixels: u32, width: u32) -> u64 {
    let shared = u64::from(gathered(conv).1 - 1) * u64::from(width);
    (u64::from(pixels.next_multiple_of(TILE_ROWS)) + shared) * row_step(row_chunks(conv))
}

/// Bytes of a matrix of `pixels` rows in `planes` planes.
pub fn bytes(conv: &Conv, pixels: u32, planes: u32) -> u64 {
    u64::from(pixels) * row_step(row_chunks(conv)) * u64::from(planes)
}

/// True if all panels of weights, each in `parts` parts, are larger than a matrix of `bytes`.
pub fn weigh_more(conv: &Conv, parts: u32, bytes: u64) -> bool {
    let tiles = u64::from(conv.partition.oc().div_ceil(TILE_LANES));
    matmul::panel_bytes(chunks(conv), tiles, u64::from(parts)) > bytes
}
