//! Fused step of Muon: a matrix is one piece of work, and iterations stay in the space of the short side.
//!
//! With `G = X·Xᵀ`, an iteration `X ← P·X`, `P = a + b·G + c·G²`, makes `G ← P·G·P`. Everything in it
//! is a polynomial of the first `G`: symmetric and commuting. So `X` is multiplied only at the ends,
//! `X₅ = (P₄·…·P₀)·X₀`, and of each product in between half is made and mirrored; for a matrix of
//! 192 × 512 that is less than half of the multiplications of [`crate::muon::plain`].

use burn::Tensor;

use super::adamw::own;
use super::gemm::{Left, PADDING, Right, multiply, padded};
use super::parallel::for_each;
use super::simd::{Level, Simd, vector_fn};
use super::{finished, floats, floats_mut, in_rows, room, tensor};
use crate::muon::{COEFFICIENTS, ITERATIONS, MOMENTUM, Matrix, Muon, TINY, size};

/// See [`crate::muon()`].
pub(crate) fn muon(matrices: Vec<Matrix>, step: &Muon) -> Vec<[Tensor<2>; 2]> {
    let mut works: Vec<_> = matrices
        .into_iter()
        .map(|Matrix { weight, gradient, momentum }| {
            let [weight, gradient] = [weight, gradient].map(in_rows);
            let output = room(floats(&weight).len());
            (weight, gradient, own(momentum), output)
        })
        .collect();
    let pieces = works.iter_mut().filter_map(|(weight, gradient, momentum, output)| {
        let shape = [weight.layout().shape()[0], weight.layout().shape()[1]];
        let momentum = floats_mut(momentum)?;
        Some((floats(weight), floats(gradient), momentum, output.as_mut_slice(), shape))
    });
    for_each(pieces.collect(), |(weight, gradient, momentum, output, shape)| {
        one(Level::widest(), step, weight, gradient, momentum, output, shape);
    });
    let done = works.into_iter().map(|(weight, _, momentum, output)| {
        let weight = tensor(output, weight.layout().shape().clone());
        [finished(weight), finished(momentum)]
    });
    done.collect()
}

vector_fn! {
    /// Steps a matrix of `shape`; `output` takes the new weights.
    fn one<S>(s, step: &Muon, weight: &[f32], gradient: &[f32], momentum: &mut [f32], output: &mut [f32], shape: [usize; 2]) {
        for ((momentum, &gradient), output) in momentum.iter_mut().zip(gradient).zip(output.iter_mut()) {
            let gradient = gradient * step.scale;
            *momentum = MOMENTUM * *momentum + gradient;
            *output = gradient + MOMENTUM * *momentum;
        }
        orthogonalise(s, output, shape);
        let size = size(shape[0], shape[1]);
        for (output, &weight) in output.iter_mut().zip(weight) {
            *output = weight - step.rate * (*output * size + step.decay * weight);
        }
    }
}

/// A symmetric matrix of `side`, rows padded.
struct Symmetric {
    values: Vec<f32>,
    side: usize,
}

impl Symmetric {
    fn zeros(side: usize) -> Self {
        Self { values: vec![0.0; side * padded(side)], side }
    }

    /// `a · b`, which is symmetric: its lower half, mirrored. Rows of `b` are padded as ours.
    #[inline(always)]
    fn product<S: Simd>(&mut self, s: S, a: Left, b: &[f32], depth: usize) {
        let (side, row) = (self.side, padded(self.side));
        for column in (0..side).step_by(PADDING) {
            let left = Left { values: &a.values[column * a.row..], ..a };
            let right = Right { values: &b[column..], row };
            let output = &mut self.values[column * row + column..];
            multiply(s, [side - column, PADDING, depth], left, &right, output, row, false);
        }
        for i in 0..side {
            for j in i + 1..side {
                self.values[i * row + j] = self.values[j * row + i];
            }
        }
    }

    fn left(&self) -> Left<'_> {
        Left { values: &self.values, row: padded(self.side), column: 1 }
    }

    /// `self · other` into `to`, all three commuting.
    #[inline(always)]
    fn times<S: Simd>(&self, s: S, other: &Self, to: &mut Self) {
        to.product(s, self.left(), &other.values, self.side);
    }
}

/// Overwrites a matrix of `[rows, cols]` by the nearest (semi-)orthogonal one, roughly.
#[inline(always)]
fn orthogonalise<S: Simd>(s: S, matrix: &mut [f32], [rows, cols]: [usize; 2]) {
    let squares: f64 = matrix.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let inverse = 1.0 / (squares.sqrt() as f32 + TINY);
    for x in matrix.iter_mut() {
        *x *= inverse;
    }
    let (side, length) = (rows.min(cols), rows.max(cols));
    // The matrix with the short side down, and with the long side down.
    let [mut wide, mut tall] = [vec![0.0; side * padded(length)], vec![0.0; length * padded(side)]];
    for (i, row) in matrix.chunks_exact(cols).enumerate() {
        for (j, &x) in row.iter().enumerate() {
            let (short, long) = if rows <= cols { (i, j) } else { (j, i) };
            wide[short * padded(length) + long] = x;
            tall[long * padded(side) + short] = x;
        }
    }
    let mut gram = Symmetric::zeros(side);
    gram.product(s, Left { values: &wide, row: padded(length), column: 1 }, &tall, length);
    let whole = iterations(s, gram);
    // Both forms of the product are at hand; the matrix's own is made.
    let (left, right, [height, width]) = if rows <= cols {
        (whole.left(), &wide, [side, padded(length)])
    } else {
        (
            Left { values: &tall, row: padded(side), column: 1 },
            &whole.values,
            [length, padded(side)],
        )
    };
    let mut product = room(height * width);
    multiply(
        s,
        [height, width, side],
        left,
        &Right { values: right, row: width },
        &mut product,
        width,
        false,
    );
    for (row, product) in matrix.chunks_exact_mut(cols).zip(product.chunks_exact(width)) {
        row.copy_from_slice(&product[..cols]);
    }
}

/// The product of all iterations' polynomials of `gram`.
#[inline(always)]
fn iterations<S: Simd>(s: S, mut gram: Symmetric) -> Symmetric {
    let [a, b, c] = COEFFICIENTS;
    let (side, row) = (gram.side, padded(gram.side));
    let [mut poly, mut whole, mut next] = [(); 3].map(|()| Symmetric::zeros(side));
    for iteration in 0..ITERATIONS {
        gram.times(s, &gram, &mut poly);
        for (poly, gram) in poly.values.iter_mut().zip(&gram.values) {
            *poly = b * gram + c * *poly;
        }
        (0..side).for_each(|i| poly.values[i * row + i] += a);
        if iteration == 0 {
            whole.values.copy_from_slice(&poly.values);
        } else {
            poly.times(s, &whole, &mut next);
            std::mem::swap(&mut whole, &mut next);
        }
        if iteration + 1 < ITERATIONS {
            poly.times(s, &gram, &mut next);
            next.times(s, &poly, &mut gram);
        }
    }
    whole
}
