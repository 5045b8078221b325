//! Float32 ↔ the bundle's tensor types, row by row in blocks of 32.
//!
//! `dequantised = scale · (code − zero)` in float32 and nothing else, so that every backend agrees on
//! the weights bit for bit.

use half::f16;
use serde::{Deserialize, Serialize};

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// 8 bits, zero point 128, one f16 scale a block.
    Q8,
    /// 4 bits, zero point 8, low bits first, one f16 scale a block.
    Q4,
    /// 2 bits for −1, 0 and 1, zero point 1, low bits first, one f16 scale a block.
    T2,
}

/// Values that share a scale.
pub const BLOCK: usize = 32;

impl Dtype {
    /// Bits of one value.
    #[must_use]
    pub fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::F16 => 16,
            Self::Q8 => 8,
            Self::Q4 => 4,
            Self::T2 => 2,
        }
    }

    /// Does a tensor of this type have scales?
    #[must_use]
    pub fn is_quantized(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4 | Self::T2)
    }

    /// Values a row of `width` takes: quantized rows are padded to full blocks.
    #[must_use]
    pub fn padded(self, width: usize) -> usize {
        if self.is_quantized() { width.div_ceil(BLOCK) * BLOCK } else { width }
    }

    /// Most steps from zero.
    fn largest(self) -> i32 {
        match self {
            Self::Q8 => 127,
            Self::T2 => 1,
            _ => 7,
        }
    }

    /// The code of zero.
    fn zero(self) -> i32 {
        match self {
            Self::Q8 => 128,
            Self::T2 => 1,
            _ => 8,
        }
    }
}

/// Codes and scales of rows of `width` values; scales are empty for the float types.
#[must_use]
pub fn quantize(values: &[f32], width: usize, dtype: Dtype) -> (Vec<u8>, Vec<u8>) {
    match dtype {
        Dtype::F32 => (values.iter().flat_map(|v| v.to_le_bytes()).collect(), Vec::new()),
        Dtype::F16 => {
            (values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(), Vec::new())
        }
        Dtype::Q8 | Dtype::Q4 | Dtype::T2 => {
            let (mut codes, mut scales) = (Vec::new(), Vec::new());
            for block in values.chunks(width.max(1)).flat_map(|row| row.chunks(BLOCK)) {
                let scale = block_scale(block, dtype);
                scales.extend(scale.to_le_bytes());
                push_codes(block, scale.to_f32(), dtype, &mut codes);
            }
            (codes, scales)
        }
    }
}

fn block_scale(block: &[f32], dtype: Dtype) -> f16 {
    if dtype == Dtype::T2 {
        return f16::from_f32(ternary_scale(block));
    }
    let peak = block.iter().fold(0.0f32, |peak, value| peak.max(value.abs()));
    f16::from_f32(peak / dtype.largest() as f32)
}

/// The scale with the least sum of squared errors: the mean of the `k` largest magnitudes, for the best `k`.
fn ternary_scale(block: &[f32]) -> f32 {
    let mut magnitudes: Vec<f32> = block.iter().map(|value| value.abs()).collect();
    magnitudes.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut most, mut scale) = (0.0f32, 0.0f32, 0.0f32);
    for (magnitude, count) in magnitudes.into_iter().zip(1u8..) {
        sum += magnitude;
        let mean = sum / f32::from(count);
        if sum * mean > most {
            (most, scale) = (sum * mean, mean);
        }
    }
    scale
}

fn push_codes(block: &[f32], scale: f32, dtype: Dtype, codes: &mut Vec<u8>) {
    let (bits, largest) = (dtype.bits(), dtype.largest());
    let code = |at: usize| -> u8 {
        let value = block.get(at).copied().unwrap_or(0.0);
        let steps = if scale > 0.0 { (value / scale).round() as i32 } else { 0 };
        (steps.clamp(-largest, largest) + dtype.zero()) as u8
    };
    let each = 8 / bits;
    codes.extend(
        (0..BLOCK / each)
            .map(|byte| (0..each).fold(0, |all, at| all | code(byte * each + at) << (at * bits))),
    );
}

/// Ternary codes as the same values' codes of [`Dtype::Q4`], whose scales they keep.
#[must_use]
pub fn as_q4(ternary: &[u8]) -> Vec<u8> {
    let up = (Dtype::Q4.zero() - Dtype::T2.zero()) as u8;
    let pair = |two: u8| ((two & 3) + up) | ((two >> 2 & 3) + up) << 4;
    ternary.iter().flat_map(|&four| [pair(four), pair(four >> 4)]).collect()
}

/// The values of `rows` rows of `width`, from bytes of exactly the right length.
#[must_use]
pub fn dequantize(codes: &[u8], scales: &[u8], width: usize, dtype: Dtype) -> Vec<f32> {
    let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    match dtype {
        Dtype::F32 => {
            codes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Dtype::F16 => codes.chunks_exact(2).map(half).collect(),
        Dtype::Q8 | Dtype::Q4 | Dtype::T2 => {
            let unpack = match dtype {
                Dtype::Q8 => unpack::<8>,
                Dtype::T2 => unpack::<2>,
                _ => unpack::<4>,
            };
            let (zero, block_bytes) = (dtype.zero() as f32, BLOCK * dtype.bits() / 8);
            let mut values = Vec::with_capacity(codes.len() * 8 / dtype.bits());
            for (block, scale) in codes.chunks_exact(block_bytes).zip(scales.chunks_exact(2)) {
                unpack(block, half(scale), zero, &mut values);
            }
            let padded = dtype.padded(width);
            if padded != width {
                values =
                    values.chunks_exact(padded).flat_map(|row| row[..width].to_vec()).collect();
            }
            values
        }
    }
}

/// A block's values; the number of bits is known when this is compiled, which makes it twice as fast.
fn unpack<const BITS: usize>(block: &[u8], scale: f32, zero: f32, values: &mut Vec<f32>) {
    for &byte in block {
        for at in 0..8 / BITS {
            let code = byte >> (at * BITS) & (0xff >> (8 - BITS));
            values.push(scale * (f32::from(code) - zero));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_block_worked_by_hand() {
        // Peak 7 → scale 1 in q4; 127 → scale 1 in q8.
        let (codes, scales) = quantize(&[7.0, -7.0, 1.4, -0.6], 4, Dtype::Q4);
        assert_eq!(codes[..2], [0x1f, 0x79]);
        assert_eq!(scales, f16::from_f32(1.0).to_le_bytes());
        assert_eq!(dequantize(&codes, &scales, 4, Dtype::Q4), [7.0, -7.0, 1.0, -1.0]);
        let (codes, scales) = quantize(&[127.0, -3.0], 2, Dtype::Q8);
        assert_eq!(codes[..2], [255, 125]);
        assert_eq!(dequantize(&codes, &scales, 2, Dtype::Q8), [127.0, -3.0]);
        // The two largest magnitudes, 5 and 3, make the scale 4 in t2: 64 / 2 saves more than 25 / 1 or 81 / 3.
        let (codes, scales) = quantize(&[5.0, -3.0, 1.0], 3, Dtype::T2);
        assert_eq!(codes, [0b01_01_00_10, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55]);
        assert_eq!(scales, f16::from_f32(4.0).to_le_bytes());
        assert_eq!(dequantize(&codes, &scales, 3, Dtype::T2), [4.0, -4.0, 0.0]);
        assert_eq!(dequantize(&as_q4(&codes), &scales, 3, Dtype::Q4), [4.0, -4.0, 0.0]);
    }

    proptest! {
        #[test]
        fn quantising_twice_changes_nothing(values in prop::collection::vec(-9.0f32..9.0, 1..200), width in 1usize..70) {
            let values = &values[..values.len() / width * width];
            for dtype in [Dtype::F32, Dtype::F16, Dtype::Q8, Dtype::Q4, Dtype::T2] {
                let (codes, scales) = quantize(values, width, dtype);
                prop_assert_eq!(codes.len() * 8, values.len() / width * dtype.padded(width) * dtype.bits());
                let once = dequantize(&codes, &scales, width, dtype);
                prop_assert_eq!(once.len(), values.len());
                let step = match dtype { Dtype::T2 => 9.0, Dtype::Q4 => 0.66, Dtype::Q8 => 0.04, _ => 0.005 };
                for (a, b) in once.iter().zip(values) {
                    prop_assert!((a - b).abs() <= step * 1.02, "{dtype:?}: {b} became {a}");
                }
                let (codes, scales) = quantize(&once, width, dtype);
                prop_assert_eq!(dequantize(&codes, &scales, width, dtype), once);
            }
        }
    }
}
