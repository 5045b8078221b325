// Codes of 8 and 4 bits and their scales, shared by the shaders of products.

// A block's step and what its values are multiplied by to give codes, from the bits of its largest
// magnitude: magnitudes compare like their bits, and what is not finite is above every number.
fn scale_of(bits: u32) -> vec2<f32> {
    let peak = bitcast<f32>(bits);
    if (bits >= 0x7f800000u) { return vec2(bitcast<f32>(bits | 0x7fc00000u), 0.0); }
    if (peak < TINY) { return vec2(0.0, 0.0); }
    return vec2(peak / 127.0, 127.0 / peak);
}

// Four scaled values as signed codes of 8 bits.
fn codes_of(values: vec4<f32>) -> u32 {
    let codes = bitcast<vec4<u32>>(vec4<i32>(round(values))) & vec4(255u);
    return codes.x | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
}

fn dot4(a: u32, b: u32) -> i32 {
    let x = bitcast<i32>(a);
    let y = bitcast<i32>(b);
    return extractBits(x, 0u, 8u) * extractBits(y, 0u, 8u) + extractBits(x, 8u, 8u) * extractBits(y, 8u, 8u)
        + extractBits(x, 16u, 8u) * extractBits(y, 16u, 8u) + extractBits(x, 24u, 8u) * extractBits(y, 24u, 8u);
}

// Eight codes of 8 bits with eight of 4 bits.
fn dot8(low: u32, high: u32, nibbles: u32) -> i32 {
    let a = bitcast<i32>(low);
    let b = bitcast<i32>(high);
    let y = bitcast<i32>(nibbles);
    return extractBits(a, 0u, 8u) * extractBits(y, 0u, 4u) + extractBits(a, 8u, 8u) * extractBits(y, 4u, 4u)
        + extractBits(a, 16u, 8u) * extractBits(y, 8u, 4u) + extractBits(a, 24u, 8u) * extractBits(y, 12u, 4u)
        + extractBits(b, 0u, 8u) * extractBits(y, 16u, 4u) + extractBits(b, 8u, 8u) * extractBits(y, 20u, 4u)
        + extractBits(b, 16u, 8u) * extractBits(y, 24u, 4u) + extractBits(b, 24u, 8u) * extractBits(y, 28u, 4u);
}

// The float16 of an even block in the low bits, of an odd one in the high bits, exactly.
fn half(pair: u32, block: u32) -> f32 {
    let bits = (pair >> (block % 2u * 16u)) & 0xffffu;
    let magnitude = bits & 0x7fffu;
    var value = bitcast<f32>((magnitude << 13u) + 0x38000000u);
    if (magnitude < 0x400u) { value = f32(magnitude) * 5.9604645e-8f; } // 2⁻²⁴
    return select(value, 0.0 - value, bits >= 0x8000u);
}
