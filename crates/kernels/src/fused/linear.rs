//! Projections by the `gemm` crate: one product forward, two backward, each in one call over all
//! rows and without copying a transpose.

use burn::Tensor;
use burn_flex::FlexTensor;

#[cfg(target_arch = "x86_64")]
use crate::precision::{self, Matmul};

use super::parallel::for_each;
use super::simd::Level;
use super::{Operation, contiguous, floats, room, run, tensor};

/// Multiplications below which one core is faster than many; flex's own threshold.
const PARALLEL: usize = 192 * 192 * 192;

/// Multiplications of one row from which every core takes a part.
const READ_ONCE: usize = 1 << 20;
/// Columns of the weight in a part.
const COLUMNS: usize = 1024;

/// Multiplications from which packing to bfloat16 pays.
#[cfg(target_arch = "x86_64")]
const MIXED: usize = 64 * 64 * 64;

/// See [`crate::linear`].
pub(crate) fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [inner, outer] = weight.dims();
    run(&Linear { inner, outer, tied: false }, [x.into_dispatch(), weight.into_dispatch()])
}

/// See [`crate::linear_tied`].
pub(crate) fn linear_tied(x: Tensor<3>, table: Tensor<2>) -> Tensor<3> {
    let [outer, inner] = table.dims();
    run(&Linear { inner, outer, tied: true }, [x.into_dispatch(), table.into_dispatch()])
}

#[derive(Clone, Debug)]
struct Linear {
    inner: usize,
    outer: usize,
    /// The weight is `[outer, inner]`, not `[inner, outer]`.
    tied: bool,
}

impl Operation<2> for Linear {
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; 2], _: Level) -> (FlexTensor, Self::Saved) {
        let [x, weight] = inputs.map(contiguous);
        let [batch, seq] = [x.layout().shape()[0], x.layout().shape()[1]];
        let rows = batch * seq;
        let output = product(
            Matrix::rows(floats(&x), rows, self.inner),
            if self.tied {
                Matrix::rows(floats(&weight), self.outer, self.inner).transposed()
            } else {
                Matrix::rows(floats(&weight), self.inner, self.outer)
            },
        );
        (tensor(output, [batch, seq, self.outer]), [x, weight])
    }

    fn backward(
        &self,
        [x, weight]: Self::Saved,
        gradient: FlexTensor,
        [want_x, want_weight]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let gradient = contiguous(gradient);
        let shape = x.layout().shape().clone();
        let rows = shape[0] * shape[1];
        let dy = Matrix::rows(floats(&gradient), rows, self.outer);
        let inputs = Matrix::rows(floats(&x), rows, self.inner);
        let x_gradient = want_x.then(|| {
            let weight = if self.tied {
                Matrix::rows(floats(&weight), self.outer, self.inner)
            } else {
                Matrix::rows(floats(&weight), self.inner, self.outer).transposed()
            };
            tensor(product(dy, weight), shape)
        });
        let weight_gradient = want_weight.then(|| {
            if self.tied {
                tensor(product(dy.transposed(), inputs), [self.outer, self.inner])
            } else {
                tensor(product(inputs.transposed(), dy), [self.inner, self.outer])
            }
        });
        [x_gradient, weight_gradient]
    }
}

/// A view of `height × width` floats; rows and columns lie `row` and `column` floats apart.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    pub(super) fn rows(values: &'a [f32], height: usize, width: usize) -> Self {
        assert_eq!(values.len(), height * width, "linear: sizes of input and weight");
        Self { values, height, width, row: width, column: 1 }
    }

    /// `width` columns from `first` on.
    fn columns(self, first: usize, width: usize) -> Self {
        assert!(first + width <= self.width, "linear: columns of the weight");
        Self { values: &self.values[first * self.column..], width, ..self }
    }

    pub(super) fn transposed(self) -> Self {
        Self { height: self.width, width: self.height, row: self.column, column: self.row, ..self }
    }
}

/// `a · b`, in row order.
fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    assert_eq!(a.width, b.height, "linear: width of the input against the weight");
    let (height, width, depth) = (a.height, b.width, a.width);
    if depth == 0 {
        return vec![0.0; height * width];
    }
    #[cfg(target_arch = "x86_64")]
    if height * width * depth >= MIXED
        && precision::matmul() == Matmul::Mixed
        && precision::is_supported()
    {
        // SAFETY: the instructions were just found.
        return unsafe { super::mixed::product(a, b) };
    }
    let mut output = room(height * width);
    if height == 1 && width * depth >= READ_ONCE {
        // As fast as the weights can be read: every core reads a part of them.
        let pieces = output.chunks_mut(COLUMNS).enumerate().collect();
        for_each(pieces, |(piece, output): (usize, &mut [f32])| {
            multiply(a, b.columns(piece * COLUMNS, output.len()), output, gemm::Parallelism::None);
        });
        return output;
    }
    let parallelism = if cfg!(feature = "flex") && height * width * depth >= PARALLEL {
        every_core()
    } else {
        gemm::Parallelism::None
    };
    multiply(a, b, &mut output, parallelism);
    output
}

/// Overwrites `output` with `a · b`, in row order.
fn multiply(a: Matrix, b: Matrix, output: &mut [f32], parallelism: gemm::Parallelism) {
    assert_eq!(output.len(), a.height * b.width, "linear: room for the product");
    // SAFETY: `Matrix::rows` checked that the strides stay inside the slices, and transposing and
    // taking columns keep that; the output's size was just checked, and it is overwritten, not read.
    unsafe {
        gemm::gemm(
            a.height,
            b.width,
            a.width,
            output.as_mut_ptr(),
            1,
            b.width as isize,
            false,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(feature = "flex")]
fn every_core() -> gemm::Parallelism {
    gemm::Parallelism::Rayon(0)
}

#[cfg(not(feature = "flex"))]
fn every_core() -> gemm::Parallelism {
    gemm::Parallelism::None
}
