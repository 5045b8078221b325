//! The x86-64 instruction sets of [`Simd`], one intrinsic a method.

use super::Simd;
#[allow(
    clippy::wildcard_imports,
    reason = "forty intrinsics, each named by its instruction set"
)]
use core::arch::x86_64::*;

/// Implements [`Simd`] by intrinsics that share a prefix.
macro_rules! simd_x86 {
    ($(#[$doc:meta])* $name:ident, $v:ty, $lanes:literal, $rows:literal, {
        load: $load:ident, store: $store:ident, splat: $splat:ident,
        add: $add:ident, sub: $sub:ident, mul: $mul:ident, div: $div:ident,
        max: $max:ident, min: $min:ident, sqrt: $sqrt:ident, fma: $fma:ident,
        keep_from: $keep:expr, scale: $scale:expr, sum: $sum:expr, peak: $peak:expr,
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            /// # Safety
            /// The machine has the instructions.
            #[inline(always)]
            pub(super) unsafe fn new() -> Self {
                Self(())
            }
        }

        impl Simd for $name {
            type V = $v;
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;

            #[inline(always)]
            fn splat(self, x: f32) -> $v {
                // SAFETY: `self` proves the instructions.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(self, p: *const f32) -> $v {
                // SAFETY: `self` proves the instructions, the caller the memory.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut f32, v: $v) {
                // SAFETY: `self` proves the instructions, the caller the memory.
                unsafe { $store(p, v) }
            }
            simd_x86!(@binary $v, add: $add, sub: $sub, mul: $mul, div: $div, max: $max, min: $min);
            #[inline(always)]
            fn sqrt(self, x: $v) -> $v {
                // SAFETY: `self` proves the instructions.
                unsafe { $sqrt(x) }
            }
            #[inline(always)]
            fn fma(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: `self` proves the instructions.
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            fn keep_from(self, x: $v, floor: $v, value: $v) -> $v {
                // SAFETY: `self` proves the instructions.
                unsafe { $keep(x, floor, value) }
            }
            #[inline(always)]
            fn scale_by_low_bits(self, value: $v, shifted: $v) -> $v {
                // SAFETY: `self` proves the instructions.
                unsafe { $scale(value, shifted) }
            }
            #[inline(always)]
            fn sum(self, v: $v) -> f32 {
                // SAFETY: `self` proves the instructions.
                unsafe { $sum(v) }
            }
            #[inline(always)]
            fn peak(self, v: $v) -> f32 {
                // SAFETY: `self` proves the instructions.
                unsafe { $peak(v) }
            }
        }
    };
    (@binary $v:ty, $($name:ident: $op:ident),*) => {
        $(
            #[inline(always)]
            fn $name(self, a: $v, b: $v) -> $v {
                // SAFETY: `self` proves the instructions.
                unsafe { $op(a, b) }
            }
        )*
    };
}

simd_x86!(
    /// AVX-512 F.
    Avx512, __m512, 16, 14, {
        load: _mm512_loadu_ps, store: _mm512_storeu_ps, splat: _mm512_set1_ps,
        add: _mm512_add_ps, sub: _mm512_sub_ps, mul: _mm512_mul_ps, div: _mm512_div_ps,
        max: _mm512_max_ps, min: _mm512_min_ps, sqrt: _mm512_sqrt_ps, fma: _mm512_fmadd_ps,
        keep_from: |x, floor, value| {
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, floor), value)
        },
        scale: |value, shifted| {
            let bits = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
            let power = _mm512_add_epi32(bits, _mm512_set1_epi32(1.0f32.to_bits() as i32));
            _mm512_mul_ps(value, _mm512_castsi512_ps(power))
        },
        sum: |v| _mm512_reduce_add_ps(v),
        peak: |v| _mm512_reduce_max_ps(v),
    }
);

simd_x86!(
    /// AVX2 and FMA.
    Avx2, __m256, 8, 6, {
        load: _mm256_loadu_ps, store: _mm256_storeu_ps, splat: _mm256_set1_ps,
        add: _mm256_add_ps, sub: _mm256_sub_ps, mul: _mm256_mul_ps, div: _mm256_div_ps,
        max: _mm256_max_ps, min: _mm256_min_ps, sqrt: _mm256_sqrt_ps, fma: _mm256_fmadd_ps,
        keep_from: |x, floor, value| {
            _mm256_and_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(x, floor), value)
        },
        scale: |value, shifted| {
            let bits = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
            let power = _mm256_add_epi32(bits, _mm256_set1_epi32(1.0f32.to_bits() as i32));
            _mm256_mul_ps(value, _mm256_castsi256_ps(power))
        },
        sum: |v| {
            let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        },
        peak: |v| {
            let half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        },
    }
);

/// AVX2 as [`super::Portable`] computes: products and sums are rounded one by one.
#[derive(Clone, Copy)]
pub(crate) struct Unfused(pub(super) Avx2);

/// Hands methods on to the set inside.
macro_rules! as_inside {
    ($($name:ident($($arg:ident),+);)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: Self::V),+) -> Self::V {
                self.0.$name($($arg),+)
            }
        )+
    };
}

impl Simd for Unfused {
    type V = __m256;
    const LANES: usize = Avx2::LANES;
    const ROWS: usize = Avx2::ROWS;

    as_inside! { add(a, b); sub(a, b); mul(a, b); div(a, b); max(a, b); min(a, b); sqrt(x);
    keep_from(x, floor, value); scale_by_low_bits(value, shifted); }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        self.0.splat(x)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: as the caller promises.
        unsafe { self.0.load(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: as the caller promises.
        unsafe { self.0.store(p, v) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        self.0.sum(v)
    }
    #[inline(always)]
    fn peak(self, v: __m256) -> f32 {
        self.0.peak(v)
    }
}
