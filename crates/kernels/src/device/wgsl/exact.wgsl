// Arithmetic in the CPU's order, before every shader's text.

// eˣ as `fused::simd::exp` has it: x = n·ln 2 + r, a polynomial of degree 6 in r, n into the exponent.
fn exponential(x: f32) -> f32 {
    let clamped = min(max(x, EXP_FLOOR), EXP_CEILING);
    let n = round(clamped * LOG2_E);
    var r = n * -0.6933594f + clamped;
    r = n * 2.1219444e-4f + r;
    var p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 0.5;
    let e = (p * (r * r) + r) + 1.0;
    let scaled = e * bitcast<f32>(u32(i32(n) + 127) << 23u);
    return select(0.0, scaled, x >= EXP_FLOOR);
}

// Eight lanes' sums as `fused::simd` folds them.
fn sum_of_lanes(lanes: array<f32, 8>) -> f32 {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}
