//! Products with packed weights: 8 or 4 bits a weight, activations of 8 bits, sums exact.
//!
//! Weights and activations share a scale by blocks of 32. Inside a block codes are multiplied and
//! summed as integers, so that no order of summing can change the result; what is left is one
//! float32 product a block, added up in one order that is written down in [`scalar`]. No product is
//! fused with a sum. Therefore every instruction set, number of threads and batch gives the same
//! bits, natively and in WebAssembly, and a row of a batch gives what it gives alone.
//!
//! Weights are read where they lie, in the packing of the EARLW bundle (`docs/BUNDLE.md`): rows of
//! blocks, value *i* in the next lowest bits, zero point 8 or 128, one float16 scale a block.
//! Kernels: [`scalar`] (the specification), `avx2`, `wasm`. Start at [`PackedMatrix`] and
//! [`quant_linear`].

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg_attr(
    all(target_arch = "wasm32", target_feature = "simd128"),
    allow(dead_code, reason = "the vectors' specification")
)]
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::expect_used, reason = "test code: a panic is a failed test")]
mod tests;

pub use activations::Activations;

use burn::Tensor;
use burn::tensor::{Device, TensorData};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Values that share a scale.
pub const BLOCK: usize = 32;
/// Blocks whose float products are added up side by side; see [`scalar`].
pub(crate) const LANES: usize = 8;
/// Blocks of activations whose largest value is below this count as zero: its inverse would overflow.
pub(crate) const TINY: f32 = 1e-35;
/// Bytes of a float16 scale.
const SCALE_BYTES: usize = 2;
/// Products from which every core takes a part; below, waking one costs more.
const PARALLEL: usize = 1 << 19;
/// Rows of weights that are one piece of work: they fit a core's own cache.
const TILE: usize = 64;

/// Bytes that several matrices may share, such as a mapped file.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Bits of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Two codes of 0 to 15 in a byte, the first in the low bits; zero point 8.
    Four,
    /// A code of 0 to 255; zero point 128.
    Eight,
}

impl Bits {
    /// Bytes of a block's codes.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Four => BLOCK / 2,
            Self::Eight => BLOCK,
        }
    }
}

/// Part of a matrix's codes, in the order of the stream they come from.
#[derive(Clone)]
pub struct Segment {
    /// What holds it.
    pub bytes: SharedBytes,
    /// Where in it.
    pub range: Range<usize>,
}

/// Whole rows whose codes lie together.
#[derive(Clone)]
struct Piece {
    bytes: SharedBytes,
    start: usize,
    first: usize,
    rows: usize,
}

/// A matrix of packed weights, `[rows, width]`, that stays where it is; cheap to clone.
#[derive(Clone)]
pub struct PackedMatrix {
    bits: Bits,
    rows: usize,
    width: usize,
    pieces: Arc<[Piece]>,
    /// `[rows, blocks]`, little-endian float16.
    scales: Arc<[u8]>,
    /// The same weights in a GPU's memory, in parts of some rows; empty if they are not there.
    #[cfg(feature = "wgpu")]
    on_device: Arc<[(Range<usize>, crate::device::matrix::DeviceMatrix)]>,
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bits, rows, width, .. } = self;
        write!(f, "PackedMatrix({bits:?} bits, [{rows}, {width}])")
    }
}

impl PackedMatrix {
    /// A matrix of rows of `width` weights whose codes lie in `segments`, one after the other.
    ///
    /// Rows that a segment's end cuts are copied, all others are read where they are.
    ///
    /// # Errors
    /// Says which length is wrong: codes must be whole rows, and each block has one scale.
    pub fn new(
        bits: Bits,
        width: usize,
        segments: &[Segment],
        scales: Vec<u8>,
    ) -> Result<Self, String> {
        let blocks = width.div_ceil(BLOCK);
        let row_bytes = blocks * bits.block_bytes();
        if row_bytes == 0 {
            return Err("rows have no weights".into());
        }
        let mut total = 0;
        for segment in segments {
            let held = (*segment.bytes).as_ref().len();
            let Range { start, end } = segment.range;
            if start > end || end > held {
                return Err(format!("a segment is {start}..{end} of {held} bytes"));
            }
            total += end - start;
        }
        let rows = total / row_bytes;
        if rows * row_bytes != total {
            return Err(format!("{total} bytes of codes are no whole rows of {row_bytes}"));
        }
        if scales.len() != rows * blocks * SCALE_BYTES {
            let wanted = rows * blocks * SCALE_BYTES;
            return Err(format!("{} bytes of scales, not {wanted}", scales.len()));
        }
        let pieces = cut(segments, row_bytes).into();
        Ok(Self {
            bits,
            rows,
            width,
            pieces,
            scales: scales.into(),
            #[cfg(feature = "wgpu")]
            on_device: Arc::new([]),
        })
    }

    /// The same matrix, ready for products on `device`: a GPU gets a copy of the weights if this build has
    /// kernels for it, elsewhere nothing changes.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        #[cfg(feature = "wgpu")]
        if crate::device::infers_on(device) {
            let on_device = crate::device::matrix::DeviceMatrix::parts(&self, device).into();
            return Self { on_device, ..self };
        }
        let _ = device;
        self
    }

    /// The same, with nothing left in the host's memory where a GPU got a copy.
    #[must_use]
    pub fn moved_to(self, device: &Device) -> Self {
        let moved = self.on(device);
        #[cfg(feature = "wgpu")]
        if !moved.on_device.is_empty() {
            return Self { pieces: Arc::new([]), scales: Arc::new([]), ..moved };
        }
        moved
    }

    /// Rows: outputs of [`quant_linear`].
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weights a row: inputs of [`quant_linear`].
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bits of a weight.
    #[must_use]
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// Bytes of codes and scales that a product with `rows` of it reads.
    #[must_use]
    pub fn bytes_of(&self, rows: usize) -> usize {
        rows * self.blocks() * (self.bits.block_bytes() + SCALE_BYTES)
    }

    fn blocks(&self) -> usize {
        self.width.div_ceil(BLOCK)
    }

    /// A row's weights, `scale · (code − zero)`; `None` beyond the last.
    #[must_use]
    pub fn row_values(&self, row: usize) -> Option<Vec<f32>> {
        let tile = self.tiles(row..row + 1, 1).pop()?;
        let mut values = scalar::values(&tile, 0);
        values.truncate(self.width);
        Some(values)
    }

    /// `rows` as pieces of work of at most `most` rows that lie together; those beyond the last
    /// are left out.
    pub(crate) fn tiles(&self, rows: Range<usize>, most: usize) -> Vec<Tile<'_>> {
        let blocks = self.blocks();
        let row_bytes = blocks * self.bits.block_bytes();
        let mut tiles = Vec::new();
        for piece in self.pieces.iter() {
            let end = rows.end.min(piece.first + piece.rows);
            let mut first = rows.start.max(piece.first);
            while first < end {
                let count = most.min(end - first);
                let start = piece.start + (first - piece.first) * row_bytes;
                let scales = first * blocks * SCALE_BYTES;
                tiles.push(Tile {
                    bits: self.bits,
                    blocks,
                    rows: count,
                    codes: &(*piece.bytes).as_ref()[start..start + count * row_bytes],
                    scales: &self.scales[scales..scales + count * blocks * SCALE_BYTES],
                });
                first += count;
            }
        }
        tiles
    }

    /// `x · wᵀ` for some `rows` of the matrix w.
    ///
    /// # Shapes
    /// - returns: `[x.rows(), rows.len()]`, row by row
    ///
    /// # Errors
    /// If `x` was quantized for another width or packing, or `rows` are not all there.
    pub fn products(&self, x: &Activations, rows: Range<usize>) -> Result<Vec<f32>, String> {
        self.products_on(Kernel::get(), x, rows)
    }

    fn products_on(
        &self,
        kernel: Kernel,
        x: &Activations,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, String> {
        if x.blocks() != self.blocks() || x.bits() != self.bits {
            return Err(format!(
                "activations of {} blocks for {:?} bits meet {self:?}",
                x.blocks(),
                x.bits()
            ));
        }
        if rows.start > rows.end || rows.end > self.rows {
            return Err(format!("rows {}..{} of {self:?}", rows.start, rows.end));
        }
        if self.pieces.is_empty() && self.rows > 0 {
            return Err(format!("{self:?} was moved to a device"));
        }
        let tiles = self.tiles(rows.clone(), TILE);
        let work = x.rows() * rows.len() * self.width;
        let results = map(tiles, work >= PARALLEL, |tile| {
            let mut results = vec![0.0; x.rows() * tile.rows];
            kernel.run(&tile, x, &mut results);
            (tile.rows, results)
        });
        Ok(gather(&results, x.rows(), rows.len()))
    }
}

/// Cuts the stream of `segments` into pieces of whole rows, copying rows that cross an end.
fn cut(segments: &[Segment], row_bytes: usize) -> Vec<Piece> {
    let (mut pieces, mut first): (Vec<Piece>, usize) = (Vec::new(), 0);
    let mut torn: Vec<u8> = Vec::new();
    let mut push = |bytes: SharedBytes, start, rows| {
        if rows > 0 {
            pieces.push(Piece { bytes, start, first, rows });
            first += rows;
        }
    };
    for Segment { bytes, range } in segments {
        let Range { mut start, end } = *range;
        if !torn.is_empty() {
            let more = (row_bytes - torn.len()).min(end - start);
            torn.extend_from_slice(&(**bytes).as_ref()[start..start + more]);
            start += more;
            if torn.len() == row_bytes {
                push(Arc::new(std::mem::take(&mut torn)), 0, 1);
            }
        }
        let rows = (end - start) / row_bytes;
        push(bytes.clone(), start, rows);
        torn.extend_from_slice(&(**bytes).as_ref()[start + rows * row_bytes..end]);
    }
    pieces
}

/// Some rows of a matrix that lie together.
pub(crate) struct Tile<'a> {
    bits: Bits,
    blocks: usize,
    pub(crate) rows: usize,
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [u8],
}

impl Tile<'_> {
    /// Codes and scales of a row.
    fn row(&self, row: usize) -> (&[u8], &[u8]) {
        let codes = self.blocks * self.bits.block_bytes();
        let scales = self.blocks * SCALE_BYTES;
        (&self.codes[row * codes..][..codes], &self.scales[row * scales..][..scales])
    }
}

/// Which instructions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Proof),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Wasm,
}

impl Kernel {
    /// The widest this machine has; `EARL_KERNELS_SIMD=portable` asks for the scalar one.
    fn get() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            static KERNEL: std::sync::OnceLock<Kernel> = std::sync::OnceLock::new();
            *KERNEL.get_or_init(|| {
                let portable =
                    std::env::var("EARL_KERNELS_SIMD").is_ok_and(|wish| wish == "portable");
                avx2::Proof::find().filter(|_| !portable).map_or(Self::Scalar, Self::Avx2)
            })
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        {
            Self::Wasm
        }
        #[cfg(not(any(
            target_arch = "x86_64",
            all(target_arch = "wasm32", target_feature = "simd128")
        )))]
        {
            Self::Scalar
        }
    }

    /// `results[i · tile.rows + j]` = activations' row `i` · tile's row `j`.
    fn run(self, tile: &Tile<'_>, x: &Activations, results: &mut [f32]) {
        match self {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Self::Scalar => scalar::run(tile, x, results),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(proof) => avx2::run(proof, tile, x, results),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Wasm => wasm::run(tile, x, results),
        }
    }
}

/// The name of the instructions that [`quant_linear`] uses here.
#[must_use]
pub fn instructions() -> &'static str {
    match Kernel::get() {
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        Kernel::Scalar => "scalar",
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2(_) => "avx2",
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Kernel::Wasm => "simd128",
    }
}

fn map<'a, T: Send>(
    tiles: Vec<Tile<'a>>,
    parallel: bool,
    work: impl Fn(Tile<'a>) -> T + Sync + Send,
) -> Vec<T> {
    #[cfg(feature = "flex")]
    if tiles.len() > 1 && parallel {
        use rayon::prelude::*;
        return tiles.into_par_iter().map(work).collect();
    }
    #[cfg(not(feature = "flex"))]
    let _ = parallel;
    tiles.into_iter().map(work).collect()
}

/// Results by tile, `[x_rows, tile's rows]` each, as `[x_rows, width]`.
fn gather(tiles: &[(usize, Vec<f32>)], x_rows: usize, width: usize) -> Vec<f32> {
    let mut output = Vec::with_capacity(x_rows * width);
    for row in 0..x_rows {
        for (columns, results) in tiles {
            output.extend_from_slice(&results[row * columns..][..*columns]);
        }
    }
    output
}

/// `x · wᵀ` for some `rows` of packed weights w: a projection, or the logits of some ids.
///
/// Computed on a GPU that has a copy of the weights ([`PackedMatrix::on`]), elsewhere `x` is read back
/// to the host and the product made there; no gradient flows.
///
/// # Shapes
/// - `x`: `[batch, seq, weights.width()]`, float32
/// - returns: `[batch, seq, rows.len()]`, on the device of `x`; a number that is not finite in `x`
///   gives NaN in its row
///
/// # Panics
/// If the sizes disagree, or the device does not give `x` back.
#[must_use]
#[allow(
    clippy::panic,
    reason = "sizes are the caller's, as in every other operation of this crate"
)]
pub fn quant_linear(x: Tensor<3>, weights: &PackedMatrix, rows: Range<usize>) -> Tensor<3> {
    let ([batch, seq, width], device) = (x.dims(), x.device());
    assert_eq!(width, weights.width(), "quant_linear: width of the input against the weights");
    #[cfg(feature = "wgpu")]
    if !weights.on_device.is_empty() && crate::device::infers_on(&device) {
        return crate::device::matrix::products(&x, &weights.on_device, &rows);
    }
    let outputs = rows.len();
    let data = x.into_data();
    let Ok(values) = data.as_slice::<f32>() else { panic!("quant_linear: input is no float32") };
    let x = Activations::quantize(values, width, weights.bits());
    match weights.products(&x, rows) {
        Ok(products) => {
            Tensor::from_data(TensorData::new(products, [batch, seq, outputs]), &device)
        }
        Err(problem) => panic!("quant_linear: {problem}"),
    }
}

/// Whether [`PackedMatrix::on`] makes products run where tensors of this device are.
#[must_use]
pub fn packs_on(device: &Device) -> bool {
    #[cfg(feature = "wgpu")]
    if crate::device::infers_on(device) {
        return true;
    }
    runs_on(device)
}

/// Whether tensors of this device are in the host's memory, so that [`quant_linear`] costs no way
/// there and back.
#[must_use]
pub fn runs_on(device: &Device) -> bool {
    #[cfg(feature = "flex-forward")]
    {
        crate::fused::runs_on(device)
    }
    #[cfg(not(feature = "flex-forward"))]
    {
        let _ = device;
        false
    }
}
