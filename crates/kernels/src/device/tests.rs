//! The device's kernels against the CPU's: the same bits where nothing but sums, products, divisions and
//! roots is asked for, as Mesa's software Vulkan rounds them, and close ones after `exp`, whose
//! polynomial compilers may rearrange. Run with feature `wgpu` only.

use super::infers_on;
use crate::decode_block::{BlockMaps, BlockShape, DecodeBlock, Seen};
use crate::quant_linear::{Bits, PackedMatrix, Segment};
use crate::testing::{assert_close, noise, values};
use crate::{
    NO_ROW, attention, gather_sum, greatest, greedy, quant_linear, rms_norm, rope, scores, swiglu,
};
use burn::Tensor;
use burn::tensor::{Device, DeviceKind, TensorData};
use std::sync::Arc;

fn gpu() -> Device {
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    assert!(infers_on(&device));
    device
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Some 8-bit weights, the same for one seed.
fn matrix(rows: usize, width: usize, seed: u64) -> PackedMatrix {
    packed(Bits::Eight, rows, width, seed)
}

fn packed(bits: Bits, rows: usize, width: usize, seed: u64) -> PackedMatrix {
    let blocks = width.div_ceil(32);
    let codes: Vec<u8> = noise(rows * blocks * bits.block_bytes(), seed)
        .iter()
        .map(|x| (x * 63.0 + 128.0) as u8)
        .collect();
    let scale = |x: &f32| half::f16::from_f32(x.abs() * 1e-3 + 1e-4).to_le_bytes();
    let scales = noise(rows * blocks, seed + 1).iter().flat_map(scale).collect();
    let all = Segment { range: 0..codes.len(), bytes: Arc::new(codes) };
    PackedMatrix::new(bits, width, &[all], scales).expect("a matrix")
}

#[track_caller]
fn assert_same<const D: usize>(got: Tensor<D>, want: Tensor<D>) {
    assert_eq!(got.dims(), want.dims());
    for (at, (got, want)) in values(got).into_iter().zip(values(want)).enumerate() {
        assert_eq!(got.to_bits(), want.to_bits(), "number {at}: {got}, not {want}");
    }
}

#[test]
fn packed_products_have_the_bits_of_the_cpu() {
    for (count, width, rows) in [(1, 192, 320), (5, 512, 192), (3, 40, 7), (2, 32, 130)] {
        let weights = matrix(rows, width, 3);
        let x = noise(count * width, 4);
        let on = |device: &Device| {
            let weights = weights.clone().on(device);
            quant_linear(tensor(&x, [1, count, width], device), &weights, 0..rows)
        };
        assert_same(on(&gpu()), on(&Device::flex()));
    }
}

#[test]
fn wide_and_4_bit_products_have_the_bits_of_the_cpu() {
    for (bits, count, width, rows) in [
        (Bits::Four, 1, 192, 320),
        (Bits::Four, 9, 40, 7),
        (Bits::Four, 17, 4096, 70),
        (Bits::Eight, 1, 4096, 70),
        (Bits::Eight, 11, 2080, 33),
        (Bits::Eight, 2, 14_336, 40),
    ] {
        let weights = packed(bits, rows, width, 3);
        let x = noise(count * width, 4);
        for take in [0..rows, 2..rows - 3] {
            let on = |device: &Device| {
                let weights = weights.clone().moved_to(device);
                quant_linear(tensor(&x, [1, count, width], device), &weights, take.clone())
            };
            assert_same(on(&gpu()), on(&Device::flex()));
        }
    }
}

#[test]
fn every_float16_scale_is_read_as_it_is() {
    // A block a row, all codes 1: the product with 127s is 127 · 32 times the scale. Devices may take −0 for 0.
    let scales: Vec<u8> = (0..=u16::MAX)
        .filter(|bits| bits & 0x7c00 != 0x7c00 && *bits != 0x8000)
        .flat_map(u16::to_le_bytes)
        .collect();
    let rows = scales.len() / 2;
    let all = Segment { range: 0..rows * 32, bytes: Arc::new(vec![129; rows * 32]) };
    let weights = PackedMatrix::new(Bits::Eight, 32, &[all], scales).expect("a matrix");
    let on = |device: &Device| {
        quant_linear(tensor(&[127.0; 32], [1, 1, 32], device), &weights.clone().on(device), 0..rows)
    };
    assert_same(on(&gpu()), on(&Device::flex()));
}

#[test]
fn a_matrix_too_large_for_a_buffer_lies_in_several() {
    // 8 MiB more than a buffer's 128, of rows of a mebibyte.
    let (rows, width) = (136, 1 << 20);
    let weights = matrix(rows, width, 3);
    let x = noise(width, 4);
    let on = |device: &Device| {
        quant_linear(tensor(&x, [1, 1, width], device), &weights.clone().on(device), 120..rows)
    };
    assert_same(on(&gpu()), on(&Device::flex()));
}

#[test]
fn a_number_that_is_none_makes_its_row_none() {
    for width in [32, 4096] {
        let mut x = noise(2 * width, 4);
        x[width + 8] = f32::INFINITY;
        let weights = matrix(5, width, 3).on(&gpu());
        let got = values(quant_linear(tensor(&x, [1, 2, width], &gpu()), &weights, 0..5));
        assert!(got[..5].iter().all(|x| x.is_finite()) && got[5..].iter().all(|x| x.is_nan()));
    }
}

#[test]
fn small_operations_have_the_bits_of_the_cpu() {
    let (x, gain) = (noise(3 * 192, 1), noise(192, 2));
    let norm = |device: &Device| {
        rms_norm(tensor(&x, [1, 3, 192], device), tensor(&gain, [192], device), 1e-5)
    };
    assert_same(norm(&gpu()), norm(&Device::flex()));

    let (q, k) = (noise(2 * 3 * 64, 5), noise(2 * 70 * 64, 6));
    let dots =
        |device: &Device| scores(tensor(&q, [2, 3, 64], device), tensor(&k, [2, 70, 64], device));
    assert_same(dots(&gpu()), dots(&Device::flex()));

    for width in [1, 5, 64, 200] {
        let x = noise(3 * width, 12);
        let of = |device: &Device| greatest(tensor(&x, [3, width], device));
        assert_same(of(&gpu()), of(&Device::flex()));
    }

    let tables = [noise(9 * 192, 7), noise(4 * 192, 8), noise(2 * 192, 9)];
    let sum = |device: &Device| {
        let [a, b, c] = &tables;
        let tables =
            [tensor(a, [9, 192], device), tensor(b, [4, 192], device), tensor(c, [2, 192], device)];
        gather_sum(tables, [vec![8, 0, 3], vec![NO_ROW, 3, 1], vec![1, 0, NO_ROW]], 13.5)
    };
    assert_same(sum(&gpu()), sum(&Device::flex()));
}

#[test]
fn the_likeliest_is_the_first_of_equals_with_its_probability() {
    let mut logits = noise(2 * 200, 11);
    (logits[17], logits[93]) = (5.0, 5.0);
    logits[200 + 60] = 7.0;
    let got = values(greedy(&tensor(&logits, [2, 200], &gpu())).expect("a kernel"));
    for (got, row) in got.chunks_exact(4).zip(logits.chunks_exact(200)) {
        let at = if row[60] > 6.0 { 60 } else { 17 };
        let weights: Vec<f64> = row.iter().map(|x| f64::from(x - row[at]).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let moment: f64 =
            weights.iter().zip(row).map(|(w, x)| w * f64::from(x - row[at])).sum::<f64>() / sum;
        let next = row.iter().enumerate().filter(|&(i, _)| i != at).map(|(_, &x)| x);
        let next = next.fold(f32::MIN, f32::max);
        assert_eq!(got[0] as usize, at);
        assert!((f64::from(got[1]) + sum.ln()).abs() < 1e-5, "{got:?}");
        assert!((f64::from(got[2]) - (sum.ln() - moment)).abs() < 1e-4, "{got:?}");
        assert!((got[3] - (row[at] - next)).abs() < 1e-6, "{got:?}");
    }
    let strange = tensor(&[1.0, f32::NAN, 3.0], [1, 3], &gpu());
    assert!(values(greedy(&strange).expect("a kernel"))[1].is_nan());
    assert!(greedy(&tensor(&logits, [2, 200], &Device::flex())).is_none());
}

const HIDDEN: usize = 192;
const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const DIM: usize = 32;
const INNER: usize = 512;
const EPS: f64 = 1e-5;

/// A block's maps and gains.
struct Maps {
    qkv: [PackedMatrix; 3],
    out: PackedMatrix,
    gate_up: [PackedMatrix; 2],
    down: PackedMatrix,
    gains: [Vec<f32>; 2],
}

impl Maps {
    fn new(bits: Bits) -> Self {
        let kv = KV_HEADS * DIM;
        let map = |rows, width, seed| packed(bits, rows, width, seed);
        Self {
            qkv: [map(HEADS * DIM, HIDDEN, 1), map(kv, HIDDEN, 2), map(kv, HIDDEN, 3)],
            out: map(HIDDEN, HEADS * DIM, 4),
            gate_up: [map(INNER, HIDDEN, 5), map(INNER, HIDDEN, 6)],
            down: map(HIDDEN, INNER, 7),
            gains: [noise(HIDDEN, 8), noise(HIDDEN, 9)],
        }
    }

    fn block(&self, device: &Device) -> DecodeBlock {
        let [q, k, v] = &self.qkv;
        let [gate, up] = &self.gate_up;
        let maps =
            BlockMaps { qkv: [q, k, v], out: &self.out, gate_up: [gate, up], down: &self.down };
        let gains = self.gains.each_ref().map(|gain| tensor(gain, [HIDDEN], device));
        let shape = BlockShape { gains, head_dim: DIM, eps: EPS as f32 };
        DecodeBlock::new(maps, shape, device).expect("kernels for this device")
    }

    /// The specification: the block's output, keys and values, given the keys and values before it.
    fn plain(
        &self,
        x: &Tensor<3>,
        angles: &[Tensor<3>; 2],
        before: [Tensor<4>; 2],
        mask: Option<&Tensor<2>>,
        causal: bool,
    ) -> (Tensor<3>, [Tensor<4>; 2]) {
        let [batch, seq, _] = x.dims();
        let map = |x: &Tensor<3>, map: &PackedMatrix| quant_linear(x.clone(), map, 0..map.rows());
        let gain = |at: usize| tensor(&self.gains[at], [HIDDEN], &x.device());
        let normed = rms_norm(x.clone(), gain(0), EPS);
        let heads = |y: Tensor<3>| {
            let heads = y.dims()[2] / DIM;
            y.reshape([batch, seq, heads, DIM])
        };
        let turn = |y| rope(y, angles[0].clone(), angles[1].clone());
        let [q, k, v] = self.qkv.each_ref().map(|weights| heads(map(&normed, weights)));
        let [keys, values] = before;
        let keys = Tensor::cat(vec![keys, turn(k)], 1);
        let values = Tensor::cat(vec![values, v], 1);
        let seen = attention(turn(q), keys.clone(), values.clone(), mask.cloned(), causal);
        let x = x.clone() + map(&seen.reshape([batch, seq, HEADS * DIM]), &self.out);
        let normed = rms_norm(x.clone(), gain(1), EPS);
        let gated = swiglu(map(&normed, &self.gate_up[0]), map(&normed, &self.gate_up[1]));
        (x + map(&gated, &self.down), [keys, values])
    }
}

/// A batch's size, tokens of each chunk and whether it is causal, and whether keys are hidden.
type Run<'a> = (usize, &'a [(usize, bool)], bool);

/// Chunk after chunk through a block, on the device with `room` for keys, against the CPU.
fn assert_block_agrees(bits: Bits, room: usize, (batch, chunks, hides): Run<'_>) {
    let (maps, device, flex) = (Maps::new(bits), gpu(), Device::flex());
    let block = maps.block(&device);
    let kv = || Tensor::<4>::zeros([batch, room, KV_HEADS, DIM], &device);
    let mut cache = [kv(), kv()];
    let empty = || Tensor::<4>::zeros([batch, 0, KV_HEADS, DIM], &flex);
    let mut before = [empty(), empty()];
    let mut start = 0;
    for &(seq, causal) in chunks {
        let seed = start as u64;
        let x = noise(batch * seq * HIDDEN, 20 + seed);
        let angles = [30, 40].map(|base| noise(batch * seq * DIM / 2, base + seed));
        let shown: Vec<f32> = (0..batch * (start + seq))
            .map(|at| f32::from(u8::from(at % (start + seq) == 0 || at % 3 != 1)))
            .collect();
        let on = |device: &Device| {
            let angles =
                angles.each_ref().map(|angle| tensor(angle, [batch, seq, DIM / 2], device));
            let mask = hides.then(|| tensor(&shown, [batch, start + seq], device));
            (tensor(&x, [batch, seq, HIDDEN], device), angles, mask)
        };
        let (x, angles, mask) = on(&flex);
        let (want, grown) = maps.plain(&x, &angles, before, mask.as_ref(), causal);
        before = grown;
        let (x, angles, mask) = on(&device);
        let seen = Seen { kv: cache, start, mask: mask.as_ref(), causal };
        let (got, written) = block.forward(x, angles, seen);
        cache = written;
        // `exp` is where devices differ; a last bit may turn an activation's code to the next.
        assert_close(&values(got), &values(want), 1e-3);
        start += seq;
    }
}

#[test]
fn a_block_agrees_with_the_cpu_chunk_after_chunk() {
    let runs: [Run<'_>; 3] = [
        (1, &[(64, false), (28, false), (1, true), (1, true), (16, true)], false),
        (3, &[(20, false), (1, true), (2, true)], false),
        (2, &[(20, false), (1, true)], true),
    ];
    for bits in [Bits::Eight, Bits::Four] {
        for run in runs {
            assert_block_agrees(bits, 128, run);
        }
    }
}

#[test]
fn a_block_agrees_over_caches_of_any_length() {
    let runs: [Run<'_>; 3] = [
        (1, &[(64, false), (1, true), (300, true), (1, true)], false),
        (2, &[(20, false), (270, true), (1, true)], true),
        (1, &[(1030, true), (1200, true), (1, true)], false),
    ];
    for run in runs {
        assert_block_agrees(Bits::Four, 2304, run);
    }
}

#[test]
fn a_cache_that_somebody_else_holds_is_not_overwritten() {
    let (maps, device) = (Maps::new(Bits::Eight), gpu());
    let kv = || Tensor::<4>::zeros([1, 64, KV_HEADS, DIM], &device);
    let held = [kv(), kv()];
    let x = tensor(&noise(HIDDEN, 1), [1, 1, HIDDEN], &device);
    let angles = [2, 3].map(|seed| tensor(&noise(DIM / 2, seed), [1, 1, DIM / 2], &device));
    let seen = Seen { kv: held.clone(), start: 0, mask: None, causal: true };
    let (_, [keys, _]) = maps.block(&device).forward(x, angles, seen);
    assert!(values(held[0].clone()).iter().all(|&x| x == 0.0));
    assert!(values(keys).iter().any(|&x| x != 0.0));
}
