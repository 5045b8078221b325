//! A packed matrix in the device's memory, turned so that neighbouring threads read neighbouring words.

use super::{Shader, THREADS, TINY, inner, outer, room};
use crate::quant_linear::{BLOCK, PackedMatrix};
use burn::Tensor;
use burn::tensor::{Device, Int, TensorData};
use burn_cubecl::tensor::CubeTensor;

/// Codes a word.
const CODES: usize = 4;

/// Weights of 8 bits, `[rows, width]`, in a device's memory.
#[derive(Clone, Debug)]
pub(crate) struct DeviceMatrix {
    /// `[blocks · 8, rows]`, four signed codes each.
    codes: Tensor<2, Int>,
    /// `[blocks, rows]`.
    scales: Tensor<2>,
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
    /// The rows of some matrices of one width, one below the other; `None` unless all have 8 bits.
    pub(crate) fn new(matrices: &[&PackedMatrix], device: &Device) -> Option<Self> {
        let width = matrices.first()?.width();
        let rows: usize = matrices.iter().map(|matrix| matrix.rows()).sum();
        let blocks = width.div_ceil(BLOCK);
        let words = blocks * BLOCK / CODES;
        let (mut codes, mut scales) = (vec![0i32; words * rows], vec![0.0; blocks * rows]);
        let mut at = 0;
        for matrix in matrices {
            for row in 0..matrix.rows() {
                let (row_codes, row_scales) = matrix.signed_row(row)?;
                for (word, four) in row_codes.chunks_exact(CODES).enumerate() {
                    codes[word * rows + at] =
                        i32::from_le_bytes([four[0], four[1], four[2], four[3]]);
                }
                for (block, scale) in row_scales.into_iter().enumerate() {
                    scales[block * rows + at] = scale;
                }
                at += 1;
            }
        }
        let codes = Tensor::from_data(TensorData::new(codes, [words, rows]), device);
        let scales = Tensor::from_data(TensorData::new(scales, [blocks, rows]), device);
        Some(Self { codes, scales, rows, width })
    }

    /// Rows of weights.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Results of a row.
    fn results(&self, around: Around<'_>) -> usize {
        if around.swiglu { self.rows / 2 } else { self.rows }
    }

    /// `x · wᵀ`, `[batch, seq, width]` → `[batch, seq, rows]`.
    pub(crate) fn forward(&self, x: Tensor<3>, around: Around<'_>) -> Tensor<3> {
        let [batch, seq, width] = x.dims();
        assert_eq!(width, self.width, "quant_linear: width of the input against the weights");
        let shape = [batch, seq, self.results(around)];
        outer(self.launch(&inner(x.into_dispatch()), batch * seq, around, shape))
    }

    fn launch(
        &self,
        x: &CubeTensor,
        count: usize,
        around: Around<'_>,
        shape: [usize; 3],
    ) -> CubeTensor {
        let results = shape[2];
        let output = room(x, shape);
        let [codes, scales] =
            [self.codes.clone().into_dispatch(), self.scales.clone().into_dispatch()].map(inner);
        let gain = around.norm.map(|(gain, _)| inner(gain.clone().into_dispatch()));
        let before = around.residual.map(|before| inner(before.clone().into_dispatch()));
        let mut buffers = vec![x, &codes, &scales];
        buffers.extend(gain.as_ref());
        buffers.extend(before.as_ref());
        buffers.push(&output);
        Shader::new("linear", include_str!("wgsl/linear.wgsl"))
            .whole("WIDTH", self.width)
            .whole("ROWS", self.rows)
            .whole("RESULTS", results)
            .float("TINY", TINY)
            .float("EPS", around.norm.map_or(0.0, |(_, eps)| eps))
            .option("norm", gain.is_some())
            .option("residual", before.is_some())
            .option("swiglu", around.swiglu)
            .launch([results.div_ceil(THREADS), count], &buffers, None);
        output
    }
}
