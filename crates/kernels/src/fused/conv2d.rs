//! Convolutions without a matrix of patches: a tile of maps by two vectors of places stays in
//! registers while the kernel's weights pass by, and places are read where they lie.
//!
//! The picture is first copied with its border ([`Padded`]), so that a tap of the kernel is the same
//! step in memory for every place. Float weights, as in [`super::linear`]: the machine's fastest
//! arithmetic, so last bits differ between machines. Start at [`conv2d`].

use std::borrow::Cow;
use std::sync::Arc;

use burn::Tensor;

use super::parallel::for_each;
use super::simd::{Level, MAX_LANES, Simd, load_some, store_some, vector_fn};
use super::{finished, floats, in_rows, room, tensor};
use crate::conv2d::Walk;

/// Products of an output added up before the next tile: what they read fits the second cache.
const PRODUCTS: usize = 2304;
/// Places of a piece of work, about: whole rows.
const PLACES: usize = 512;
/// Tiles of output maps of a piece of work.
const TILES: usize = 2;

impl Walk {
    /// Steps along `size` places.
    pub(crate) fn steps(&self, size: usize, kernel: usize) -> usize {
        let size = size * self.repeat + self.padding[0] + self.padding[1];
        assert!(size >= kernel && self.stride > 0, "conv2d: {size} places, a kernel of {kernel}");
        (size - kernel) / self.stride + 1
    }
}

/// See [`crate::Convolution::forward`].
pub(crate) fn conv2d(
    x: Tensor<4>,
    kernel: &Kernel,
    bias: Option<Tensor<1>>,
    onto: Option<Tensor<4>>,
    walk: Walk,
) -> Tensor<4> {
    let [batch, inputs, height, width] = x.dims();
    assert_eq!(inputs, kernel.inputs, "conv2d: maps of the picture and of the kernel");
    let (outputs, side) = (kernel.outputs, kernel.side);
    let [rows, columns] = [walk.steps(height, side), walk.steps(width, side)];
    let shape = [batch, outputs, rows, columns];
    assert!(onto.as_ref().is_none_or(|onto| onto.dims() == shape), "conv2d: what to add up onto");
    let (x, bias, onto) = (in_rows(x), bias.map(in_rows), onto.map(in_rows));
    let padded = Padded::new(floats(&x), [height, width], [rows, columns], side, walk);
    let mut output = room(batch * outputs * rows * columns);
    let job = Job {
        taps: (0..side * side).map(|tap| padded.step(tap / side, tap % side)).collect(),
        padded,
        kernel,
        bias: bias.as_ref().map_or(&[], floats),
        onto: onto.as_ref().map_or(&[], floats),
        size: [rows, columns],
        output: Output(output.as_mut_ptr()),
    };
    for_each(job.pieces(batch), |piece| run(Level::widest(), &job, &piece));
    finished(tensor(output, shape))
}

/// Maps with their border, as the kernel walks over them.
///
/// A row holds its columns by their remainder to the stride: what successive steps of one tap read
/// lies side by side. After each remainder a vector may be read past the last step.
struct Padded<'a> {
    values: Cow<'a, [f32]>,
    /// Floats of one remainder of a row, of a row and of a map.
    remainder: usize,
    row: usize,
    map: usize,
    stride: usize,
}

impl<'a> Padded<'a> {
    fn new(
        x: &'a [f32],
        [height, width]: [usize; 2],
        [steps_down, steps_across]: [usize; 2],
        side: usize,
        Walk { repeat, padding: [before, _], stride }: Walk,
    ) -> Self {
        let remainder = steps_across.next_multiple_of(MAX_LANES) + (side - 1) / stride;
        let rows = (steps_down - 1) * stride + side;
        let row = remainder * stride;
        let map = rows * row;
        if [rows, row, repeat] == [height, width, 1] && before == 0 {
            return Self { values: Cow::Borrowed(x), remainder, row, map, stride };
        }
        let mut values = room(x.len() / (height * width) * map);
        let maps = x.chunks_exact(height * width).zip(values.chunks_exact_mut(map)).collect();
        for_each(maps, |(x, padded): (&[f32], &mut [f32])| {
            for (at, padded) in padded.chunks_exact_mut(row).enumerate() {
                let source = at.checked_sub(before).map(|at| at / repeat).filter(|&at| at < height);
                let Some(source) = source else {
                    padded.fill(0.0);
                    continue;
                };
                let source = &x[source * width..][..width];
                for (first, padded) in padded.chunks_exact_mut(remainder).enumerate() {
                    copy(source, padded, first, [before, repeat, stride]);
                }
            }
        });
        Self { values: Cow::Owned(values), remainder, row, map, stride }
    }

    /// Floats from a place's first to its value under the tap.
    fn step(&self, down: usize, across: usize) -> usize {
        down * self.row + across % self.stride * self.remainder + across / self.stride
    }
}

/// Every `stride`-th column from `first` on, of a row with `before` zeros in front.
fn copy(source: &[f32], padded: &mut [f32], first: usize, [before, repeat, stride]: [usize; 3]) {
    if repeat == 1 && stride == 1 {
        let (zeros, rest) = padded.split_at_mut(before);
        let (inside, after) = rest.split_at_mut(source.len().min(rest.len()));
        zeros.fill(0.0);
        inside.copy_from_slice(&source[..inside.len()]);
        after.fill(0.0);
        return;
    }
    for (at, value) in padded.iter_mut().enumerate() {
        let column = (first + at * stride).checked_sub(before).map(|at| at / repeat);
        *value = column.and_then(|column| source.get(column)).copied().unwrap_or(0.0);
    }
}

/// Weights in the order in which a tile reads them: `[tile][input][tap][map of the tile]`.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    weights: Arc<[f32]>,
    /// Maps of a tile; those past the last map are zeros.
    tile: usize,
    inputs: usize,
    outputs: usize,
    side: usize,
}

impl Kernel {
    /// `weight`: `[out, in, side, side]`
    pub(crate) fn pack(weight: Tensor<4>) -> Self {
        let [outputs, inputs, side, _] = weight.dims();
        let weight = in_rows(weight);
        let tile = outputs.div_ceil(outputs.div_ceil(largest_tile(Level::widest())));
        let depth = inputs * side * side;
        let mut packed = vec![0.0; outputs.div_ceil(tile) * depth * tile];
        let tiles = packed.chunks_exact_mut(depth * tile).zip(floats(&weight).chunks(depth * tile));
        for (packed, weights) in tiles {
            for (map, weights) in weights.chunks_exact(depth).enumerate() {
                for (at, &weight) in weights.iter().enumerate() {
                    packed[at * tile + map] = weight;
                }
            }
        }
        Self { weights: packed.into(), tile, inputs, outputs, side }
    }
}

vector_fn! {
    fn largest_tile<S>(_s) -> usize { S::ROWS }
}

/// The output, written by several threads: each its own places of its own maps.
struct Output(*mut f32);

// SAFETY: pieces share no element, and `conv2d` reads the output after all are done.
unsafe impl Sync for Output {}

struct Job<'a> {
    padded: Padded<'a>,
    kernel: &'a Kernel,
    /// Where each tap's value lies, from the place under the first one.
    taps: Vec<usize>,
    /// Empty if there is none.
    bias: &'a [f32],
    /// What every sum starts from; empty if from zero.
    onto: &'a [f32],
    /// Rows and columns of the output.
    size: [usize; 2],
    output: Output,
}

/// Some rows and tiles of one picture.
struct Piece {
    picture: usize,
    rows: std::ops::Range<usize>,
    tiles: std::ops::Range<usize>,
}

impl Job<'_> {
    fn pieces(&self, batch: usize) -> Vec<Piece> {
        let [rows, columns] = self.size;
        let tiles = self.kernel.outputs.div_ceil(self.kernel.tile);
        let some = (PLACES / columns).max(1);
        let mut pieces = Vec::new();
        for picture in 0..batch {
            for row in (0..rows).step_by(some) {
                for tile in (0..tiles).step_by(TILES) {
                    pieces.push(Piece {
                        picture,
                        rows: row..(row + some).min(rows),
                        tiles: tile..(tile + TILES).min(tiles),
                    });
                }
            }
        }
        pieces
    }

    /// Input maps added up before the next tile.
    fn depth(&self) -> usize {
        (PRODUCTS / self.taps.len()).max(1)
    }

    /// Where `LANES` places of a row start: in a padded map, in a map of the output, and how many
    /// of them there are.
    fn places<S: Simd>(&self, vector: usize) -> (usize, usize, usize) {
        let columns = self.size[1];
        let vectors = columns.div_ceil(S::LANES);
        let (row, column) = (vector / vectors, vector % vectors * S::LANES);
        let from = row * self.padded.stride * self.padded.row + column;
        (from, row * columns + column, S::LANES.min(columns - column))
    }
}

/// Runs `$work::<S, ROWS> $arguments` for a tile of `$rows` maps.
macro_rules! for_rows {
    ($rows:expr, [$($count:literal)*], $work:ident::<$set:ident> $arguments:tt) => {
        match $rows {
            $($count => $work::<$set, $count> $arguments,)*
            rows => unreachable!("a tile of {rows} maps"),
        }
    };
}

vector_fn! {
    fn run<S>(s, job: &Job, piece: &Piece) {
        let vectors = job.size[1].div_ceil(S::LANES);
        let (first, end) = (piece.rows.start * vectors, piece.rows.end * vectors);
        for input in (0..job.kernel.inputs).step_by(job.depth()) {
            for vector in (first..end).step_by(2) {
                // An odd one out is made twice over, and written twice.
                let places = [vector, (vector + 1).min(end - 1)].map(|at| job.places::<S>(at));
                for tile in piece.tiles.clone() {
                    for_rows!(
                        job.kernel.tile,
                        [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
                        add_up::<S>(s, job, [piece.picture, tile, input], places)
                    );
                }
            }
        }
    }
}

/// Adds [`Job::depth`] input maps to a tile of output maps at two vectors of places.
#[inline(always)]
fn add_up<S: Simd, const ROWS: usize>(
    s: S,
    job: &Job,
    [picture, tile, input]: [usize; 3],
    to: [(usize, usize, usize); 2],
) {
    let Job { padded, kernel, taps, .. } = job;
    let inputs = job.depth().min(kernel.inputs - input);
    let maps = tile * ROWS..(tile * ROWS + ROWS).min(kernel.outputs);
    let area = job.size[0] * job.size[1];
    let range = |map: usize, (_, to, len): (usize, usize, usize)| {
        let at = (picture * kernel.outputs + map) * area + to;
        at..at + len
    };
    let output = |range: std::ops::Range<usize>| {
        // SAFETY: `places` of one row of one map lie inside the output, and no other piece has
        // them; the slice ends before the next is made.
        unsafe { std::slice::from_raw_parts_mut(job.output.0.add(range.start), range.len()) }
    };
    let mut sums = [[s.splat(0.0); 2]; ROWS];
    for (sums, map) in sums.iter_mut().zip(maps.clone()) {
        // Plain loops: a closure would be compiled without the set's instructions.
        let bias = s.splat(job.bias.get(map).copied().unwrap_or(0.0));
        for (sum, to) in sums.iter_mut().zip(to) {
            let range = range(map, to);
            *sum = if input > 0 {
                load_some(s, output(range), 0.0)
            } else if job.onto.is_empty() {
                bias
            } else {
                s.add(load_some(s, &job.onto[range], 0.0), bias)
            };
        }
    }
    let first = (picture * kernel.inputs + input) * padded.map;
    let weights = &kernel.weights[(tile * kernel.inputs + input) * taps.len() * ROWS..]
        [..inputs * taps.len() * ROWS];
    let places = to.map(|(from, ..)| &padded.values[first + from..]);
    let sums = multiply(s, sums, weights, places, taps, padded.map);
    for (sums, map) in sums.into_iter().zip(maps) {
        for (sum, to) in sums.into_iter().zip(to) {
            store_some(s, output(range(map, to)), sum);
        }
    }
}

/// Adds the input maps that `weights` has under every tap; the sums stay in registers.
#[inline(always)]
fn multiply<S: Simd, const ROWS: usize>(
    s: S,
    mut sums: [[S::V; 2]; ROWS],
    weights: &[f32],
    places: [&[f32]; 2],
    taps: &[usize],
    map: usize,
) -> [[S::V; 2]; ROWS] {
    let inputs = weights.len() / (taps.len() * ROWS);
    let furthest = taps.iter().max().map_or(0, |tap| (inputs - 1) * map + tap + S::LANES);
    assert!(
        places.iter().all(|places| places.len() >= furthest),
        "conv2d: places under the kernel"
    );
    let mut weights = weights.as_ptr();
    let [mut left, mut right] = places.map(<[f32]>::as_ptr);
    for _ in 0..inputs {
        for &tap in taps {
            // SAFETY: the furthest tap of the last map was just seen to lie inside; each tap of each
            // map has its row of weights.
            unsafe {
                let (x, y) = (s.load(left.add(tap)), s.load(right.add(tap)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let weight = s.splat(*weights.add(row));
                    *sums = [s.fma(weight, x, sums[0]), s.fma(weight, y, sums[1])];
                }
                weights = weights.add(ROWS);
            }
        }
        left = left.wrapping_add(map);
        right = right.wrapping_add(map);
    }
    sums
}
