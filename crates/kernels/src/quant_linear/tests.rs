//! The kernels against the specification, and the specification against floats.

use super::{Activations, BLOCK, Bits, Kernel, PackedMatrix, Segment, SharedBytes, quant_linear};
use burn::Tensor;
use burn::tensor::{Device, TensorData};
use half::f16;
use proptest::prelude::*;
use std::sync::Arc;

/// Numbers that look like noise in −1..1.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mixed = |at: u64| {
        let mut z = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd6e8_feb8);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 27)
    };
    (0..count as u64).map(|at| (mixed(at) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// Any codes, zero points and extremes among them, and scales of any sign; cut into two segments.
fn matrix(bits: Bits, rows: usize, width: usize, seed: u64, cut: usize) -> PackedMatrix {
    let blocks = width.div_ceil(BLOCK);
    let bytes = rows * blocks * bits.block_bytes();
    let codes: Vec<u8> =
        noise(bytes, seed).iter().map(|value| ((value + 1.0) * 127.99) as u8).collect();
    let scales = noise(rows * blocks, seed ^ 0x4d);
    let scales =
        scales.iter().flat_map(|&value| f16::from_f32(value * 0.1).to_le_bytes()).collect();
    let cut = cut.min(bytes);
    let shared = |bytes: &[u8]| -> SharedBytes { Arc::new(bytes.to_vec()) };
    let segments = [
        Segment { bytes: shared(&codes[..cut]), range: 0..cut },
        Segment { bytes: shared(&codes), range: cut..bytes },
    ];
    PackedMatrix::new(bits, width, &segments, scales).expect("lengths fit")
}

fn bits() -> impl Strategy<Value = Bits> {
    prop_oneof![Just(Bits::Four), Just(Bits::Eight)]
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn worked_by_hand() {
    // Codes 9 and 7 are 1 and −1 in four bits; scale 2. Activations 127 and −127 at scale 1 / 127.
    let mut codes = [0x88u8; 16];
    codes[0] = 0x79;
    let bytes: SharedBytes = Arc::new(codes.to_vec());
    let segments = [Segment { bytes, range: 0..16 }];
    let scales = f16::from_f32(2.0).to_le_bytes().to_vec();
    let matrix = PackedMatrix::new(Bits::Four, 2, &segments, scales).expect("lengths fit");
    let x = Activations::quantize(&[1.0, -1.0, 0.5, 0.25], 2, Bits::Four);
    let products = matrix.products(&x, 0..1).expect("sizes fit");
    // 2 · (127 + 127) / 127 = 4; 0.5 and 0.25 become 127 and 64 (63.5, to even) of 0.5 / 127.
    let want = [254.0 * (2.0 * (1.0 / 127.0)), 63.0 * (2.0 * (0.5f32 / 127.0))];
    assert!(same_bits(&products, &want), "{products:?}");
    assert_eq!(matrix.row_values(0), Some(vec![2.0, -2.0]));
    assert_eq!(matrix.row_values(1), None);
}

#[test]
fn numbers_that_are_none_stay_so_and_only_in_their_row() {
    for bits in [Bits::Four, Bits::Eight] {
        let matrix = matrix(bits, 3, 300, 5, 40);
        let mut x = noise(600, 6);
        x[299] = f32::INFINITY;
        let x = Activations::quantize(&x, 300, bits);
        let products = matrix.products(&x, 0..3).expect("sizes fit");
        assert!(products[..3].iter().all(|value| value.is_nan()), "{products:?}");
        assert!(products[3..].iter().all(|value| value.is_finite()), "{products:?}");
        let zeros = Activations::quantize(&[0.0; 300], 300, bits);
        assert_eq!(matrix.products(&zeros, 0..3).expect("sizes fit"), [0.0; 3]);
    }
}

#[test]
fn extreme_codes_do_not_overflow() {
    let blocks = 16;
    for (bits, code) in
        [(Bits::Four, 0u8), (Bits::Four, 0xff), (Bits::Eight, 0), (Bits::Eight, 255)]
    {
        let bytes: SharedBytes = Arc::new(vec![code; blocks * bits.block_bytes()]);
        let range = 0..blocks * bits.block_bytes();
        let scales = f16::from_f32(1.0).to_le_bytes().repeat(blocks);
        let matrix = PackedMatrix::new(bits, blocks * BLOCK, &[Segment { bytes, range }], scales)
            .expect("fits");
        for sign in [1.0, -1.0] {
            let x =
                Activations::quantize(&vec![sign * 127.0; blocks * BLOCK], blocks * BLOCK, bits);
            let weight = matrix.row_values(0).expect("there")[0];
            let want = sign * weight * 127.0 * (blocks * BLOCK) as f32;
            let products = matrix.products(&x, 0..1).expect("sizes fit");
            assert!(same_bits(&products, &[want]), "{products:?} {want}");
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let bytes: SharedBytes = Arc::new(vec![0u8; 48]);
    let new = |range, scales: usize| {
        let segments = [Segment { bytes: bytes.clone(), range }];
        PackedMatrix::new(Bits::Four, 32, &segments, vec![0; scales]).err().unwrap_or_default()
    };
    assert_eq!(new(0..48, 6), "");
    assert!(new(0..47, 6).contains("no whole rows"));
    assert!(new(0..49, 6).contains("0..49 of 48"));
    assert!(new(0..48, 5).contains("5 bytes of scales"));
    let matrix = matrix(Bits::Four, 2, 64, 1, 0);
    let x = Activations::quantize(&[0.0; 32], 32, Bits::Four);
    assert!(matrix.products(&x, 0..2).is_err());
    let x = Activations::quantize(&[0.0; 64], 64, Bits::Eight);
    assert!(matrix.products(&x, 0..2).is_err());
    let x = Activations::quantize(&[0.0; 64], 64, Bits::Four);
    assert!(matrix.products(&x, 1..3).is_err());
}

#[test]
fn tensors_go_in_and_come_out() {
    let (device, matrix) = (Device::flex(), matrix(Bits::Eight, 70, 96, 3, 1000));
    let values = noise(2 * 3 * 96, 4);
    let x = Tensor::<3>::from_data(TensorData::new(values.clone(), [2, 3, 96]), &device);
    let y = quant_linear(x, &matrix, 5..70);
    assert_eq!(y.dims(), [2, 3, 65]);
    let y: Vec<f32> = y.into_data().try_into_vec().expect("floats");
    let x = Activations::quantize(&values, 96, Bits::Eight);
    assert!(same_bits(&y, &matrix.products(&x, 5..70).expect("sizes fit")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_kernel_gives_the_bits_of_the_scalar_one(
        bits in bits(), rows in 1usize..140, width in 1usize..700, x_rows in 1usize..7,
        seed in any::<u64>(), cut in 0usize..5000,
    ) {
        let matrix = matrix(bits, rows, width, seed, cut);
        let x = Activations::quantize(&noise(x_rows * width, seed ^ 1), width, bits);
        let want = matrix.products_on(Kernel::Scalar, &x, 0..rows).expect("sizes fit");
        let got = matrix.products_on(Kernel::get(), &x, 0..rows).expect("sizes fit");
        prop_assert!(same_bits(&got, &want));
    }

    #[test]
    fn a_row_gives_alone_what_it_gives_in_a_batch_and_with_fewer_outputs(
        bits in bits(), width in 1usize..300, x_rows in 1usize..7, seed in any::<u64>(),
    ) {
        let matrix = matrix(bits, 100, width, seed, 333);
        let values = noise(x_rows * width, seed ^ 2);
        let x = Activations::quantize(&values, width, bits);
        let all = matrix.products(&x, 0..100).expect("sizes fit");
        for (row, values) in values.chunks_exact(width).enumerate() {
            let x = Activations::quantize(values, width, bits);
            let alone = matrix.products(&x, 13..90).expect("sizes fit");
            prop_assert!(same_bits(&alone, &all[row * 100 + 13..row * 100 + 90]));
        }
    }

    #[test]
    fn products_are_those_of_floats_within_the_step_of_the_activations(
        bits in bits(), width in 1usize..400, seed in any::<u64>(), large in 0.01f32..100.0,
    ) {
        let matrix = matrix(bits, 4, width, seed, 100);
        let values: Vec<f32> = noise(width, seed ^ 3).iter().map(|value| value * large).collect();
        let x = Activations::quantize(&values, width, bits);
        let got = matrix.products(&x, 0..4).expect("sizes fit");
        for (row, got) in got.iter().enumerate() {
            let weights = matrix.row_values(row).expect("there");
            let want: f64 = weights.iter().zip(&values).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            // Half a step of each activation, and float32's rounding of the sums.
            let peak = |block: &[f32]| block.iter().fold(0.0f32, |peak, v| peak.max(v.abs()));
            let bound: f64 = weights.chunks(BLOCK).zip(values.chunks(BLOCK)).map(|(w, x)| {
                let size: f32 = w.iter().map(|w| w.abs()).sum();
                f64::from(size) * f64::from(peak(x)) * (0.5 / 127.0 + 1e-6)
            }).sum();
            prop_assert!((f64::from(*got) - want).abs() <= bound * 1.001 + 1e-9, "{got} {want} {bound}");
        }
    }
}
