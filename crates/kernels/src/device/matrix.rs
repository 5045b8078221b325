//! A packed matrix in the device's memory, turned so that neighbouring threads read neighbouring words.
//!
//! Narrow rows of 8-bit weights take one dispatch, which quantizes the input in every workgroup anew
//! (`linear.wgsl`). Wide rows and 4-bit weights take two: the input is quantized once (`quantize.wgsl`), then each
//! word of weights is read once for up to [`PLACES`] rows of it (`wide.wgsl`).

use super::{Shader, THREADS, inner, outer, room, typed_room};
use crate::quant_linear::{BLOCK, Bits, LANES, PackedMatrix, TINY};
use burn::Tensor;
use burn::tensor::{DType, Device, Int, TensorData};
use burn_cubecl::tensor::CubeTensor;
use std::ops::Range;

/// Bytes of a word.
const WORD: usize = 4;
/// Widest input that a workgroup holds in its memory, beside its codes: half of WebGPU's least.
const NARROW: usize = 1536;
/// Rows of the input that read a word of weights together.
const PLACES: usize = 8;
/// Rows of weights of a wide workgroup, of [`LANES`] threads each.
const COLUMNS: usize = 32;
/// Most bytes of a matrix's codes in one buffer: what a WebGPU binding holds by default.
const MOST_BYTES: usize = 128 << 20;

/// Packed weights, `[rows, width]`, in a device's memory.
#[derive(Clone, Debug)]
pub(crate) struct DeviceMatrix {
    bits: Bits,
    /// `[blocks · words, rows]`: four signed codes of 8 bits, or eight of 4.
    codes: Tensor<2, Int>,
    /// `[⌈blocks / 2⌉, rows]`, two float16 each.
    scales: Tensor<2, Int>,
    rows: usize,
    width: usize,
}

/// What a product may do before and after.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around<'a> {
    /// Gain and ε of a root-mean-square norm of the inputs.
    pub(crate) norm: Option<(&'a Tensor<1>, f32)>,
    /// Added to the results, of their shape.
    pub(crate) residual: Option<&'a Tensor<3>>,
    /// The first half of the rows is a gate, the second what it lets through: `silu(gate) · up`.
    pub(crate) swiglu: bool,
}

impl DeviceMatrix {
    /// The rows of some matrices of one width, one below the other; `None` unless all have the same bits.
    pub(crate) fn new(matrices: &[&PackedMatrix], device: &Device) -> Option<Self> {
        let (bits, width) = matrices.first().map(|first| (first.bits(), first.width()))?;
        let alike = |matrix: &&PackedMatrix| (matrix.bits(), matrix.width()) == (bits, width);
        if !matrices.iter().all(alike) {
            return None;
        }
        let parts: Vec<_> = matrices.iter().map(|&matrix| (matrix, 0..matrix.rows())).collect();
        Some(Self::of(&parts, bits, width, device))
    }

    /// A matrix in as many parts as its codes need buffers, with each part's rows.
    pub(crate) fn parts(matrix: &PackedMatrix, device: &Device) -> Vec<(Range<usize>, Self)> {
        let (bits, width) = (matrix.bits(), matrix.width());
        let row = width.div_ceil(BLOCK) * bits.block_bytes();
        let most = (MOST_BYTES / row / COLUMNS * COLUMNS).max(COLUMNS);
        let starts = (0..matrix.rows()).step_by(most);
        let part = |start: usize| {
            let rows = start..matrix.rows().min(start + most);
            (rows.clone(), Self::of(&[(matrix, rows)], bits, width, device))
        };
        starts.map(part).collect()
    }

    fn of(
        parts: &[(&PackedMatrix, Range<usize>)],
        bits: Bits,
        width: usize,
        device: &Device,
    ) -> Self {
        let rows: usize = parts.iter().map(|(_, rows)| rows.len()).sum();
        let blocks = width.div_ceil(BLOCK);
        let words = blocks * bits.block_bytes() / WORD;
        let pairs = blocks.div_ceil(2);
        let (mut codes, mut scales) = (vec![0; words * rows], vec![0; pairs * rows]);
        let mut at = 0;
        for (matrix, range) in parts {
            for tile in matrix.tiles(range.clone(), THREADS) {
                turn(tile.codes, tile.rows, words, flip(bits), &mut codes, [rows, at]);
                turn(tile.scales, tile.rows, pairs, 0, &mut scales, [rows, at]);
                at += tile.rows;
            }
        }
        let codes = Tensor::from_data(TensorData::new(codes, [words, rows]), device);
        let scales = Tensor::from_data(TensorData::new(scales, [pairs, rows]), device);
        Self { bits, codes, scales, rows, width }
    }

    /// `x · wᵀ`, `[batch, seq, width]` → `[batch, seq, rows]`.
    pub(crate) fn forward(&self, x: Tensor<3>, around: Around<'_>) -> Tensor<3> {
        let results = if around.swiglu { self.rows / 2 } else { self.rows };
        self.forward_rows(x, around, 0..results)
    }

    /// The same for some rows of the results.
    pub(crate) fn forward_rows(
        &self,
        x: Tensor<3>,
        around: Around<'_>,
        take: Range<usize>,
    ) -> Tensor<3> {
        let [batch, seq, width] = x.dims();
        assert_eq!(width, self.width, "quant_linear: width of the input against the weights");
        let shape = [batch, seq, take.len()];
        let x = inner(x.into_dispatch());
        let output = room(&x, shape);
        let whole = take.start == 0 && take.end * (1 + usize::from(around.swiglu)) == self.rows;
        if self.bits == Bits::Eight && width <= NARROW && whole {
            self.narrow(&x, batch * seq, around, &output);
        } else {
            self.wide(&x, batch * seq, around, take, &output);
        }
        outer(output)
    }

    fn shader(&self, name: &'static str, text: &'static str) -> Shader {
        Shader::new(name, text)
            .with(include_str!("wgsl/quants.wgsl"))
            .whole("WIDTH", self.width)
            .whole("ROWS", self.rows)
            .float("TINY", TINY)
    }

    fn narrow(&self, x: &CubeTensor, count: usize, around: Around<'_>, output: &CubeTensor) {
        let results = output.meta.shape()[2];
        let [codes, scales] = self.buffers();
        let gain = around.norm.map(|(gain, _)| inner(gain.clone().into_dispatch()));
        let before = around.residual.map(|before| inner(before.clone().into_dispatch()));
        let mut buffers = vec![x, &codes, &scales];
        buffers.extend(gain.as_ref());
        buffers.extend(before.as_ref());
        buffers.push(output);
        self.shader("linear", include_str!("wgsl/linear.wgsl"))
            .whole("RESULTS", results)
            .float("EPS", around.norm.map_or(0.0, |(_, eps)| eps))
            .option("norm", gain.is_some())
            .option("residual", before.is_some())
            .option("swiglu", around.swiglu)
            .launch([results.div_ceil(THREADS), count], &buffers, None);
    }

    fn wide(
        &self,
        x: &CubeTensor,
        count: usize,
        around: Around<'_>,
        take: Range<usize>,
        output: &CubeTensor,
    ) {
        let [quants, steps] = self.quantize(x, count, around);
        let [codes, scales] = self.buffers();
        let before = around.residual.map(|before| inner(before.clone().into_dispatch()));
        let mut buffers = vec![&quants, &steps, &codes, &scales];
        buffers.extend(before.as_ref());
        buffers.push(output);
        let places = if count > 1 { PLACES } else { 1 };
        self.shader("wide", include_str!("wgsl/wide.wgsl"))
            .threads(COLUMNS * LANES)
            .whole("PLACES", places)
            .whole("WORDS", self.bits.block_bytes() / WORD)
            .option("bytes", self.bits == Bits::Eight)
            .option("nibbles", self.bits == Bits::Four)
            .option("residual", before.is_some())
            .option("swiglu", around.swiglu)
            .launch(
                [take.len().div_ceil(COLUMNS), count.div_ceil(places)],
                &buffers,
                Some([count, take.start, take.len(), 0]),
            );
    }

    /// The input's codes and the steps of its blocks.
    fn quantize(&self, x: &CubeTensor, count: usize, around: Around<'_>) -> [CubeTensor; 2] {
        let blocks = self.width.div_ceil(BLOCK);
        let quants = typed_room(x, [count, blocks * BLOCK / WORD], DType::I32);
        let steps = room(x, [count, blocks]);
        let gain = around.norm.map(|(gain, _)| inner(gain.clone().into_dispatch()));
        let mut buffers = vec![x];
        buffers.extend(gain.as_ref());
        buffers.extend([&quants, &steps]);
        self.shader("quantize", include_str!("wgsl/quantize.wgsl"))
            .float("EPS", around.norm.map_or(0.0, |(_, eps)| eps))
            .option("norm", gain.is_some())
            .launch([1, count], &buffers, None);
        [quants, steps]
    }

    fn buffers(&self) -> [CubeTensor; 2] {
        [&self.codes, &self.scales].map(|tensor| inner(tensor.clone().into_dispatch()))
    }
}

/// `x · wᵀ` for some `rows` of a matrix in parts: `[batch, seq, width]` → `[batch, seq, rows.len()]`.
pub(crate) fn products(
    x: &Tensor<3>,
    parts: &[(Range<usize>, DeviceMatrix)],
    rows: &Range<usize>,
) -> Tensor<3> {
    let mut found = parts.iter().filter_map(|(held, part)| {
        let (start, end) = (rows.start.max(held.start), rows.end.min(held.end));
        let take = || start - held.start..end - held.start;
        (start < end).then(|| part.forward_rows(x.clone(), Around::default(), take()))
    });
    match (found.next(), found.next()) {
        (Some(only), None) => only,
        (first, second) => Tensor::cat(first.into_iter().chain(second).chain(found).collect(), 2),
    }
}

/// What makes codes signed.
fn flip(bits: Bits) -> u32 {
    match bits {
        Bits::Four => 0x8888_8888,
        Bits::Eight => 0x8080_8080,
    }
}

/// Rows of bytes, as `words` little-endian words each, `flip`ped, become the columns of `to` from `at` on;
/// `to` has `columns`. What is missing of a row's last word is 0.
fn turn(
    rows: &[u8],
    count: usize,
    words: usize,
    flip: u32,
    to: &mut [i32],
    [columns, at]: [usize; 2],
) {
    let bytes = rows.len() / count;
    for word in 0..words {
        let to = &mut to[word * columns + at..][..count];
        for (to, row) in to.iter_mut().zip(rows.chunks_exact(bytes)) {
            let row = &row[word * WORD..];
            let mut four = [0; WORD];
            let length = row.len().min(WORD);
            four[..length].copy_from_slice(&row[..length]);
            *to = (u32::from_le_bytes(four) ^ flip).cast_signed();
        }
    }
}
