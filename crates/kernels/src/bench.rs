//! Plain against fused, side by side in one process: what `trainer bench kernels` prints.
//!
//! The shapes are those of the tiny model's training step. Each row alternates the two versions
//! and keeps the best of several runs of each, so that other work on the machine hurts both alike.
//! Start at [`run`].

use std::sync::Arc;
use std::time::Instant;

use burn::Tensor;
use burn::tensor::{Device, Int};

use crate::precision::{Matmul, set_matmul};
use crate::{
    AdamW, Convolution, GroupNorm, Matrix, Muon, NO_ROW, Packing, Segment, adamw, attention,
    cross_entropy, gather_sum, group_norm, linear, muon, packed_attention, rms_norm, rope, swiglu,
};

/// One operation at one shape.
#[derive(Clone, Debug)]
pub struct BenchRow {
    /// The operation, its shape and what was measured.
    pub name: String,
    /// Best time of the plain Burn composition, in milliseconds.
    pub plain_ms: f64,
    /// Best time of the fused operation, in milliseconds.
    pub fused_ms: f64,
    /// `plain_ms / fused_ms`.
    pub ratio: f64,
}

/// The instruction set the fused operations use here: `avx512`, `avx2` or `portable`.
#[must_use]
pub fn instruction_set() -> &'static str {
    crate::fused::simd::Level::widest().name()
}

/// Measures the operations whose name starts with `filter` on this machine, best of `repeats`.
#[must_use]
pub fn run(repeats: usize, filter: &str) -> Vec<BenchRow> {
    let bench = Bench { repeats, device: Device::flex().autodiff() };
    let mut rows = Vec::new();
    if "swiglu".starts_with(filter) {
        rows.extend([[32, 64, 512], [128, 60, 512]].map(|shape| bench.swiglu(shape)));
    }
    if "rms_norm".starts_with(filter) {
        rows.push(bench.rms_norm([128, 60, 192]));
    }
    if "rope".starts_with(filter) {
        rows.push(bench.rope([128, 60, 6, 32]));
    }
    if "cross_entropy".starts_with(filter) {
        rows.extend([[2000, 1000], [1000, 12_800]].map(|shape| bench.cross_entropy(shape)));
    }
    if "linear".starts_with(filter) {
        let shapes = [
            ([64, 64], [192, 512]),
            ([64, 64], [512, 192]),
            ([64, 64], [192, 192]),
            ([30, 100], [192, 12_800]),
        ];
        rows.extend(shapes.map(|(rows, weight)| bench.linear(rows, weight, Matmul::Full)));
        rows.extend(shapes.map(|(rows, weight)| bench.linear(rows, weight, Matmul::Mixed)));
    }
    if "attention".starts_with(filter) {
        rows.extend([
            bench.attention("source", 32, [64, 64], false, false),
            bench.attention("instruction", 128, [14, 78], true, false),
            bench.attention("program", 64, [40, 118], true, true),
        ]);
    }
    if "packed_attention".starts_with(filter) {
        rows.push(bench.packed_attention());
    }
    if "gather_sum".starts_with(filter) {
        rows.push(bench.gather_sum(3000));
    }
    if "adamw".starts_with(filter) {
        rows.push(bench.adamw(8192 * 192));
    }
    if "muon".starts_with(filter) {
        rows.push(bench.muon(&[[192, 192], [192, 64], [192, 512], [512, 192]]));
    }
    rows.extend(pictures(repeats, filter));
    if "decode".starts_with(filter) {
        rows.extend(decode(repeats));
    }
    rows
}

/// The machine's best GFLOP/s in float32: a product of two 1024 × 1024 matrices on every core.
#[must_use]
pub fn gemm_peak() -> f64 {
    const SIDE: usize = 1024;
    let device = Device::flex();
    let x: Tensor<3> = fill([1, SIDE, SIDE], 0.1, &device);
    let weight: Tensor<2> = fill([SIDE, SIDE], 0.2, &device);
    let before = crate::precision::matmul();
    set_matmul(Matmul::Full);
    let once = |()| drop(linear(x.clone(), weight.clone()));
    let (best, again) = race(10, || (), once, once);
    set_matmul(before);
    2.0 * (SIDE as f64).powi(3) / (best.min(again) * 1e6)
}

struct Bench {
    repeats: usize,
    device: Device,
}

/// Values in −1..1, each row its own; a formula, so that rows agree between runs.
fn fill<const D: usize>(shape: [usize; D], phase: f32, device: &Device) -> Tensor<D> {
    let len = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|i: usize| (i as f32 * 0.618 + phase).sin()).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape(shape)
}

/// Best times in milliseconds of two alternating pieces of work; preparing their inputs is not
/// counted.
fn race<T>(
    repeats: usize,
    prepare: impl Fn() -> T,
    plain: impl Fn(T),
    fused: impl Fn(T),
) -> (f64, f64) {
    let clock = |work: &dyn Fn(T)| {
        let inputs = prepare();
        let start = Instant::now();
        work(inputs);
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..=repeats {
        best = (best.0.min(clock(&plain)), best.1.min(clock(&fused)));
    }
    best
}

fn row(name: String, (plain_ms, fused_ms): (f64, f64)) -> BenchRow {
    BenchRow { name, plain_ms, fused_ms, ratio: plain_ms / fused_ms }
}

impl Bench {
    /// Forward and backward of both versions over fresh leaves, from the same output gradient.
    fn train<const D: usize, const E: usize, const N: usize>(
        &self,
        name: String,
        inputs: [Tensor<D>; N],
        plain: impl Fn([Tensor<D>; N]) -> Tensor<E>,
        fused: impl Fn([Tensor<D>; N]) -> Tensor<E>,
    ) -> BenchRow {
        // Multiplying by one makes the leaves inner nodes, as activations are.
        let leaves = inputs.map(Tensor::require_grad);
        let prepare = || leaves.each_ref().map(|leaf| leaf.clone().mul_scalar(1.0));
        let step = |operation: &dyn Fn([Tensor<D>; N]) -> Tensor<E>, inputs| {
            drop(operation(inputs).sum().backward());
        };
        let times = race(
            self.repeats,
            prepare,
            |inputs| step(&plain, inputs),
            |inputs| step(&fused, inputs),
        );
        row(name, times)
    }

    fn swiglu(&self, shape: [usize; 3]) -> BenchRow {
        let inputs = [fill(shape, 0.1, &self.device), fill(shape, 0.2, &self.device)];
        let name = format!("swiglu {shape:?} forward + backward");
        self.train(name, inputs, |[a, b]| crate::swiglu::plain(a, b), |[a, b]| swiglu(a, b))
    }

    fn rms_norm(&self, shape: [usize; 3]) -> BenchRow {
        let weight: Tensor<1> = fill([shape[2]], 0.3, &self.device).require_grad();
        let name = format!("rms_norm {shape:?} forward + backward");
        let plain = |[x]: [Tensor<3>; 1]| crate::rms_norm::plain(x, weight.clone(), 1e-5);
        let fused = |[x]: [Tensor<3>; 1]| rms_norm(x, weight.clone(), 1e-5);
        self.train(name, [fill(shape, 0.1, &self.device)], plain, fused)
    }

    fn rope(&self, shape: [usize; 4]) -> BenchRow {
        let [batch, seq, _, head_dim] = shape;
        let angles = [0.1, 0.2].map(|phase| fill([batch, seq, head_dim / 2], phase, &self.device));
        let name = format!("rope {shape:?} forward + backward");
        let plain =
            |[x]: [Tensor<4>; 1]| crate::rope::plain(x, angles[0].clone(), angles[1].clone());
        let fused = |[x]: [Tensor<4>; 1]| rope(x, angles[0].clone(), angles[1].clone());
        self.train(name, [fill(shape, 0.1, &self.device)], plain, fused)
    }

    fn cross_entropy(&self, shape: [usize; 2]) -> BenchRow {
        let targets: Vec<i32> = (0..shape[0]).map(|row| (row * 31 % shape[1]) as i32).collect();
        let targets = Tensor::<1, Int>::from_ints(targets.as_slice(), &self.device);
        let name = format!("cross_entropy {shape:?} forward + backward");
        let plain = |[x]: [Tensor<2>; 1]| crate::cross_entropy::plain(x, targets.clone());
        let fused = |[x]: [Tensor<2>; 1]| cross_entropy(x, targets.clone());
        self.train(name, [fill(shape, 0.1, &self.device)], plain, fused)
    }

    /// GFLOP/s = 6 · rows · inner · outer / time, three products of a step.
    fn linear(
        &self,
        [batch, seq]: [usize; 2],
        [inner, outer]: [usize; 2],
        precision: Matmul,
    ) -> BenchRow {
        let weight: Tensor<2> = fill([inner, outer], 0.3, &self.device).require_grad();
        let name = format!("linear {} × [{inner}, {outer}] forward + backward", batch * seq);
        let plain = |[x]: [Tensor<3>; 1]| crate::linear::plain(x, weight.clone());
        let fused = |[x]: [Tensor<3>; 1]| linear(x, weight.clone());
        let before = crate::precision::matmul();
        set_matmul(precision);
        let row = self.train(name, [fill([batch, seq, inner], 0.1, &self.device)], plain, fused);
        set_matmul(before);
        row
    }

    fn attention(
        &self,
        pass: &str,
        batch: usize,
        [seq, keys]: [usize; 2],
        masked: bool,
        causal: bool,
    ) -> BenchRow {
        let q = fill([batch, seq, 6, 32], 0.1, &self.device);
        let [k, v] = [0.2, 0.3].map(|phase| fill([batch, keys, 2, 32], phase, &self.device));
        let mask = masked.then(|| {
            let shown = (0..batch * keys).map(|i| if i % keys % 9 == 8 { 0.0 } else { 1.0 });
            let shown: Vec<f32> = shown.collect();
            Tensor::<1>::from_floats(shown.as_slice(), &self.device).reshape([batch, keys])
        });
        let name = format!("attention {pass} {batch} × {seq} over {keys} forward + backward");
        let plain =
            |[q, k, v]: [Tensor<4>; 3]| crate::attention::plain(q, k, v, mask.clone(), causal);
        let fused = |[q, k, v]: [Tensor<4>; 3]| attention(q, k, v, mask.clone(), causal);
        self.train(name, [q, k, v], plain, fused)
    }
}

impl Bench {
    /// Eight pictures, four sentences and programs each: half of the tiny model's training step.
    fn packed_attention(&self) -> BenchRow {
        let mut packing = Packing::default();
        for _ in 0..8 {
            let mut push = |len, parent, causal| packing.push(Segment { len, parent, causal }).0;
            let picture = push(64, None, false);
            for program in [12, 16, 24, 70] {
                let words = push(9, Some(picture), false);
                push(program, Some(words), true);
            }
        }
        let packing = Arc::new(packing);
        let tokens = packing.tokens();
        let q = fill([1, tokens, 6, 32], 0.1, &self.device);
        let [k, v] = [0.2, 0.3].map(|phase| fill([1, tokens, 2, 32], phase, &self.device));
        let name = format!("packed_attention {tokens} tokens in 8 trees forward + backward");
        let plain = |[q, k, v]: [Tensor<4>; 3]| crate::packed_attention::plain(q, k, v, &packing);
        let fused = |[q, k, v]: [Tensor<4>; 3]| packed_attention(q, k, v, &packing);
        self.train(name, [q, k, v], plain, fused)
    }

    /// The tiny model's five tables; a third of the tokens are codes.
    fn gather_sum(&self, tokens: usize) -> BenchRow {
        let rows = [300, 8192, 9, 9, 30];
        let tables = rows.map(|rows| fill([rows, 192], 0.1, &self.device));
        let ids = std::array::from_fn(|table| {
            let id = |i: usize| match table {
                0 if i.is_multiple_of(3) => NO_ROW,
                1 if !i.is_multiple_of(3) => NO_ROW,
                _ => (i * 31 % rows[table]) as i32,
            };
            (0..tokens).map(id).collect::<Vec<i32>>()
        });
        let name = format!("gather_sum {tokens} tokens of 5 tables forward + backward");
        let plain = |tables| crate::gather_sum::plain(tables, ids.clone(), 2.0);
        self.train(name, tables, plain, |tables| gather_sum(tables, ids.clone(), 2.0))
    }

    fn adamw(&self, len: usize) -> BenchRow {
        type Step = fn(Tensor<1>, Tensor<1>, Tensor<1>, Tensor<1>, &AdamW) -> [Tensor<1>; 3];
        let device = Device::flex();
        let step = AdamW {
            rate: 1e-3,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            decay: 0.01,
            scale: 0.5,
            taken: 10,
        };
        let prepare = || {
            let [weight, gradient] = [0.1, 0.2].map(|phase| fill([len], phase, &device));
            [weight, gradient, Tensor::zeros([len], &device), Tensor::ones([len], &device)]
        };
        let run = |of: Step, [weight, gradient, mean, square]: [Tensor<1>; 4]| {
            drop(of(weight, gradient, mean, square, &step));
        };
        let plain = |given| run(crate::adamw::plain, given);
        row(
            format!("adamw {len} weights"),
            race(self.repeats, prepare, plain, |given| run(adamw, given)),
        )
    }

    /// Six matrices of each shape.
    fn muon(&self, shapes: &[[usize; 2]]) -> BenchRow {
        let device = Device::flex();
        let step = Muon { rate: 1e-3, decay: 0.01, scale: 0.5 };
        let matrix = |shape: [usize; 2]| Matrix {
            weight: fill(shape, 0.1, &device),
            gradient: fill(shape, 0.2, &device),
            momentum: fill(shape, 0.3, &device),
        };
        let prepare = || -> Vec<Matrix> {
            (0..6).flat_map(|_| shapes.iter().map(|&shape| matrix(shape))).collect()
        };
        let plain = |matrices: Vec<Matrix>| {
            drop(matrices.into_iter().map(|matrix| crate::muon::plain(matrix, &step)).last());
        };
        let fused = |matrices| drop(muon(matrices, &step));
        row(format!("muon 6 × {shapes:?}"), race(self.repeats, prepare, plain, fused))
    }
}

/// One position of a single sequence, without autodiff: what generation repeats.
fn decode(repeats: usize) -> [BenchRow; 3] {
    let device = Device::flex();
    let x: Tensor<3> = fill([1, 1, 192], 0.1, &device);
    let weight: Tensor<1> = fill([192], 0.2, &device);
    let wide: Tensor<3> = fill([1, 1, 512], 0.1, &device);
    let q: Tensor<4> = fill([1, 1, 6, 32], 0.1, &device);
    let kv: Tensor<4> = fill([1, 150, 2, 32], 0.2, &device);
    let race = |plain: &dyn Fn(), fused: &dyn Fn()| {
        let times = |work: &dyn Fn()| (0..100).for_each(|_| work());
        race(repeats, || (), |()| times(plain), |()| times(fused))
    };
    let norm = race(&|| drop(crate::rms_norm::plain(x.clone(), weight.clone(), 1e-5)), &|| {
        drop(rms_norm(x.clone(), weight.clone(), 1e-5));
    });
    let gate = race(&|| drop(crate::swiglu::plain(wide.clone(), wide.clone())), &|| {
        drop(swiglu(wide.clone(), wide.clone()));
    });
    let parts = || (q.clone(), kv.clone(), kv.clone());
    let look = race(
        &|| {
            let (q, k, v) = parts();
            drop(crate::attention::plain(q, k, v, None, true));
        },
        &|| {
            let (q, k, v) = parts();
            drop(attention(q, k, v, None, true));
        },
    );
    [
        row("decode rms_norm, one position, 100 times".into(), norm),
        row("decode swiglu, one position, 100 times".into(), gate),
        row("decode attention, one position over 150, 100 times".into(), look),
    ]
}

/// What a convolutional tokenizer is made of, forward only.
fn pictures(repeats: usize, filter: &str) -> Vec<BenchRow> {
    let mut rows = Vec::new();
    if "conv2d".starts_with(filter) {
        rows.extend([[64, 128], [128, 64], [256, 16]].map(|shape| convolution(repeats, shape)));
    }
    if "group_norm".starts_with(filter) {
        rows.push(group_normal(repeats, [1, 64, 128, 128]));
    }
    rows
}

/// As many maps out as in, three by three, over a picture of `side`².
fn convolution(repeats: usize, [maps, side]: [usize; 2]) -> BenchRow {
    let device = Device::flex();
    let x: Tensor<4> = fill([1, maps, side, side], 0.1, &device);
    let weight: Tensor<4> = fill([maps, maps, 3, 3], 0.2, &device);
    let bias: Tensor<1> = fill([maps], 0.3, &device);
    let packed = Convolution::new(weight.clone(), Some(bias.clone()));
    let walk = packed.same();
    let plain = |()| {
        drop(crate::conv2d::plain(x.clone(), weight.clone(), Some(bias.clone()), None, walk));
    };
    let fused = |()| drop(packed.forward(x.clone(), None, walk));
    let name = format!("conv2d {maps} maps of {side} × {side} by 3 × 3");
    row(name, race(repeats, || (), plain, fused))
}

/// With scale and shift at an eighth of the size, and `silu`.
fn group_normal(repeats: usize, shape: [usize; 4]) -> BenchRow {
    let device = Device::flex();
    let [batch, maps, height, width] = shape;
    let x: Tensor<4> = fill(shape, 0.1, &device);
    let [gain, bias] = [0.2, 0.3].map(|phase| fill([maps], phase, &device));
    let spatial =
        [0.4, 0.5].map(|phase| fill([batch, maps, height / 8, width / 8], phase, &device));
    let norm = GroupNorm { groups: 32, eps: 1e-6, silu: true };
    let run = |of: fn(_, _, _, _, _) -> Tensor<4>| {
        drop(of(x.clone(), gain.clone(), bias.clone(), Some(spatial.clone()), norm));
    };
    let times = race(repeats, || (), |()| run(crate::group_norm::plain), |()| run(group_norm));
    row(format!("group_norm {shape:?} with scale, shift and silu"), times)
}
