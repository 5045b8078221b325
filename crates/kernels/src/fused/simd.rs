//! Vectors of f32 for the kernels: one source, three instruction sets, chosen at run time.
//!
//! A kernel is written once against [`Simd`] inside [`vector_fn!`], which compiles it for AVX-512,
//! for AVX2 with and without FMA and for the build's base set (SSE2, NEON, Wasm SIMD…), and is told
//! which [`Level`] to run on: [`Level::widest`] is the fastest the machine has, [`Level::exact`] gives
//! the same bits on every machine and in WebAssembly. `EARL_KERNELS_SIMD=portable|avx2` narrows the
//! choice, for tests and comparisons. Values of the vector types prove that their instructions exist.
//! Start at [`Simd`].

use crate::exp::{EXP_CEILING, EXP_FLOOR};
use std::sync::OnceLock;

/// One instruction set: a vector of [`LANES`](Simd::LANES) floats and what can be done with it.
///
/// An implementor exists only where its instructions do, so every method but `load` and `store`
/// is safe.
pub(crate) trait Simd: Copy {
    /// The register.
    type V: Copy;
    /// Floats in a register.
    const LANES: usize;
    /// Rows of two vectors each that the registers hold beside what is added to them.
    const ROWS: usize;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `LANES` floats from `p` are readable.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` floats from `p` are writable.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, x: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the set has FMA.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `value` where `x ≥ floor`, else 0.
    fn keep_from(self, x: Self::V, floor: Self::V, value: Self::V) -> Self::V;
    /// `value · 2ⁿ`, with `n` in the low mantissa bits of `shifted` (see [`exp`]).
    fn scale_by_low_bits(self, value: Self::V, shifted: Self::V) -> Self::V;
    /// Sum of the lanes, in a fixed order.
    fn sum(self, v: Self::V) -> f32;
    /// Largest lane.
    fn peak(self, v: Self::V) -> f32;
}

/// Added and taken away again, this rounds a small float to an integer and leaves that integer in
/// the low mantissa bits.
const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³

/// `eˣ` without branches, within 2 ulp for results above `f32::MIN_POSITIVE`, 0 below.
///
/// `x = n·ln 2 + r`, `|r| ≤ ln 2 / 2`: a degree-6 polynomial gives `eʳ`, the exponent bits `2ⁿ`.
/// Coefficients: Cephes `expf` (S. Moshier).
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let floor = s.splat(EXP_FLOOR);
    let clamped = s.min(s.max(x, floor), s.splat(EXP_CEILING));
    let shifted = s.fma(clamped, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(shifted, s.splat(ROUND));
    let r = s.fma(n, s.splat(-0.693_359_4), clamped); // ln 2, the bits that multiply exactly
    let r = s.fma(n, s.splat(2.121_944_4e-4), r); // the rest of ln 2
    let mut p = s.splat(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    let e = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    s.keep_from(x, floor, s.scale_by_low_bits(e, shifted))
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// The widest vector of any set; scratch rows are padded to twice this.
pub(crate) const MAX_LANES: usize = 16;

/// Up to [`Simd::LANES`] floats from the start of `x`; missing lanes are `fill`.
#[inline(always)]
pub(crate) fn load_some<S: Simd>(s: S, x: &[f32], fill: f32) -> S::V {
    if x.len() >= S::LANES {
        // SAFETY: `x` holds at least `LANES` floats.
        return unsafe { s.load(x.as_ptr()) };
    }
    let mut lanes = [fill; MAX_LANES];
    lanes[..x.len()].copy_from_slice(x);
    // SAFETY: `lanes` holds `MAX_LANES`, at least `LANES`, floats.
    unsafe { s.load(lanes.as_ptr()) }
}

/// Writes the lanes that fit into the start of `y`.
#[inline(always)]
pub(crate) fn store_some<S: Simd>(s: S, y: &mut [f32], v: S::V) {
    if y.len() >= S::LANES {
        // SAFETY: `y` holds at least `LANES` floats.
        return unsafe { s.store(y.as_mut_ptr(), v) };
    }
    let mut lanes = [0.0; MAX_LANES];
    // SAFETY: `lanes` holds `MAX_LANES`, at least `LANES`, floats.
    unsafe { s.store(lanes.as_mut_ptr(), v) };
    let len = y.len();
    y.copy_from_slice(&lanes[..len]);
}

/// `a · b`.
#[inline(always)]
pub(crate) fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for (a, b) in a.chunks(S::LANES).zip(b.chunks(S::LANES)) {
        sum = s.fma(load_some(s, a, 0.0), load_some(s, b, 0.0), sum);
    }
    s.sum(sum)
}

/// The build's base instruction set; the compiler turns the arrays into its registers.
#[derive(Clone, Copy)]
pub(crate) struct Portable(());

/// Lane by lane, `f(a[i], b[i])`.
#[inline(always)]
fn zip(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    const ROWS: usize = 3; // a vector takes two of sixteen registers

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller promises 8 readable floats; the read asks for no alignment.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: the caller promises 8 writable floats; the write asks for no alignment.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |x, y| x * y)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |x, y| x / y)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn sqrt(self, x: Self::V) -> Self::V {
        x.map(f32::sqrt)
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn keep_from(self, x: Self::V, floor: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|i| if x[i] >= floor[i] { value[i] } else { 0.0 })
    }
    #[inline(always)]
    fn scale_by_low_bits(self, value: Self::V, shifted: Self::V) -> Self::V {
        zip(value, shifted, |v, t| {
            v * f32::from_bits((t.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
        })
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    fn peak(self, v: Self::V) -> f32 {
        v.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, Unfused};

/// The instruction set in use, with the proof that it is there.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// The registers of AVX2, the arithmetic of [`Portable`].
    #[cfg(target_arch = "x86_64")]
    Unfused(Unfused),
    Portable(Portable),
}

impl Level {
    /// The fastest this machine has, looked up once: for training.
    pub(crate) fn widest() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(Self::detect)
    }

    /// Eight lanes and no fused products, in the widest registers that hold them: for inference. A
    /// result has the same bits on every machine, natively and in WebAssembly.
    pub(crate) fn exact() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            static LEVEL: OnceLock<Level> = OnceLock::new();
            *LEVEL.get_or_init(|| {
                let portable =
                    std::env::var("EARL_KERNELS_SIMD").is_ok_and(|wish| wish == "portable");
                if portable || !is_x86_feature_detected!("avx2") {
                    return Self::Portable(Portable(()));
                }
                // SAFETY: the feature was just detected, and `Unfused` needs no other.
                Self::Unfused(Unfused(unsafe { Avx2::new() }))
            })
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Portable(Portable(()))
    }

    /// Does it compute what [`Level::exact`] does?
    pub(crate) fn is_exact(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) | Self::Avx2(_) => false,
            #[cfg(target_arch = "x86_64")]
            Self::Unfused(_) => true,
            Self::Portable(_) => true,
        }
    }

    /// The name that `EARL_KERNELS_SIMD` takes.
    #[cfg(feature = "flex")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Unfused(_) => "avx2 without fma",
            Self::Portable(_) => "portable",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        let wish = std::env::var("EARL_KERNELS_SIMD").unwrap_or_default();
        let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if wish == "portable" || !fma {
            Self::Portable(Portable(()))
        } else if wish == "avx2" || !is_x86_feature_detected!("avx512f") {
            // SAFETY: both features were just detected.
            Self::Avx2(unsafe { Avx2::new() })
        } else {
            // SAFETY: the feature was just detected.
            Self::Avx512(unsafe { Avx512::new() })
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Self {
        Self::Portable(Portable(()))
    }
}

/// Writes a function that runs its body on the [`Level`] that its caller names first.
///
/// `fn name<S>(s, arg: Type, …) { … }`: in the body, `s` is the set, `S` its type.
macro_rules! vector_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$set:ident>($s:ident $(, $arg:ident: $ty:ty)* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take slices and sizes, not objects")]
        $vis fn $name(level: $crate::fused::simd::Level $(, $arg: $ty)*) $(-> $ret)? {
            use $crate::fused::simd;

            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::inline_always, reason = "as above; compiled once for each set")]
            fn body<$set: simd::Simd>($s: $set $(, $arg: $ty)*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx512(s: simd::Avx512 $(, $arg: $ty)*) $(-> $ret)? {
                body(s $(, $arg)*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx2(s: simd::Avx2 $(, $arg: $ty)*) $(-> $ret)? {
                body(s $(, $arg)*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn unfused(s: simd::Unfused $(, $arg: $ty)*) $(-> $ret)? {
                body(s $(, $arg)*)
            }

            match level {
                // SAFETY: the value proves that the machine has the features.
                #[cfg(target_arch = "x86_64")]
                simd::Level::Avx512(s) => unsafe { avx512(s $(, $arg)*) },
                // SAFETY: the value proves that the machine has the features.
                #[cfg(target_arch = "x86_64")]
                simd::Level::Avx2(s) => unsafe { avx2(s $(, $arg)*) },
                // SAFETY: the value proves that the machine has the feature.
                #[cfg(target_arch = "x86_64")]
                simd::Level::Unfused(s) => unsafe { unfused(s $(, $arg)*) },
                simd::Level::Portable(s) => body(s $(, $arg)*),
            }
        }
    };
}
pub(crate) use vector_fn;

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::float_cmp, reason = "small integers and powers of two are exact")]
mod tests {
    use super::{Level, Portable, exp, load_some, sigmoid, store_some};

    vector_fn! {
        fn map<S>(s, x: &[f32], y: &mut [f32], logistic: bool) {
            for (x, y) in x.chunks(S::LANES).zip(y.chunks_mut(S::LANES)) {
                let v = load_some(s, x, 0.0);
                store_some(s, y, if logistic { sigmoid(s, v) } else { exp(s, v) });
            }
        }
    }

    vector_fn! {
        fn reduce<S>(s, x: &[f32]) -> (f32, f32) {
            let v = load_some(s, &x[..S::LANES], 0.0);
            (s.sum(v), s.peak(v))
        }
    }

    #[test]
    fn exp_is_within_two_ulp_of_the_true_value() {
        let x: Vec<f32> = (-87_000..88_000).map(|i| i as f32 * 1e-3 + 3.7e-5).collect();
        let mut y = vec![0.0; x.len()];
        map(Level::widest(), &x, &mut y, false);
        for (&x, &y) in x.iter().zip(&y) {
            let want = f64::from(x).exp();
            let ulp = f64::from(f32::EPSILON) * 2f64.powf(want.log2().floor());
            assert!((f64::from(y) - want).abs() <= 2.0 * ulp, "exp({x}) gave {y}, not {want}");
        }
    }

    #[test]
    fn exp_has_exact_ends() {
        let x = [0.0, f32::NEG_INFINITY, -1e30, -90.0, 1e30];
        let mut y = [1.0; 5];
        map(Level::widest(), &x, &mut y, false);
        assert_eq!(y[..4], [1.0, 0.0, 0.0, 0.0]);
        assert!(y[4] > 2e38 && y[4].is_finite());
    }

    #[test]
    fn sigmoid_is_a_half_at_zero_and_saturates() {
        let mut y = [9.0; 3];
        map(Level::widest(), &[0.0, 200.0, -200.0], &mut y, true);
        assert_eq!(y[..2], [0.5, 1.0]);
        assert!(y[2] >= 0.0 && y[2] < 1e-37);
    }

    #[test]
    fn exact_is_the_portable_arithmetic_bit_for_bit() {
        let x: Vec<f32> = (0..8_000).map(|i| (i as f32 * 0.377).sin() * 90.0).collect();
        for logistic in [false, true] {
            let [mut exact, mut portable] = [vec![0.0; x.len()], vec![0.0; x.len()]];
            map(Level::exact(), &x, &mut exact, logistic);
            map(Level::Portable(Portable(())), &x, &mut portable, logistic);
            let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&exact), bits(&portable));
        }
        for x in x.chunks_exact(16) {
            assert_eq!(reduce(Level::exact(), x), reduce(Level::Portable(Portable(())), x));
        }
    }

    #[test]
    fn lanes_add_up_and_the_peak_is_found() {
        let mut x: Vec<f32> = (0..16).map(|i| i as f32).collect();
        x[3] = 100.0;
        let (sum, peak) = reduce(Level::widest(), &x);
        let lanes: f32 = if sum > 150.0 { 120.0 } else { 28.0 };
        assert_eq!(sum, lanes - 3.0 + 100.0);
        assert_eq!(peak, 100.0);
    }
}
