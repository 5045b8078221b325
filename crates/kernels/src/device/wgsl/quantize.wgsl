// Rows of `x`, normed first if asked, as codes of 8 bits: what `wide` reads. In the order of
// `quant_linear::activations` and `fused::rms_norm`. Grid: [1, rows].
@bind var<storage, read_write> x: array<f32>;
@bind var<storage, read_write> gain: array<f32>; //?norm
@bind var<storage, read_write> quants: array<u32>; // [rows, BLOCKS · 8], four signed codes each
@bind var<storage, read_write> steps: array<f32>;  // [rows, BLOCKS]

const BLOCKS = (WIDTH + 31u) / 32u;
const TILE = 1024u;

var<workgroup> tile: array<f32, TILE>; //?norm
var<workgroup> squares: array<f32, 8>; //?norm

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    let first = group.y * WIDTH;
    var sum = 0.0; //?norm
    for (var from_place = 0u; from_place < WIDTH; from_place += TILE) { //?norm
        let count = min(TILE, WIDTH - from_place); //?norm
        for (var i = at; i < count; i += 64u) { tile[i] = x[first + from_place + i]; } //?norm
        workgroupBarrier(); //?norm
        if (at < 8u) { //?norm
            for (var i = at; i < count; i += 8u) { sum = tile[i] * tile[i] + sum; } //?norm
        } //?norm
        workgroupBarrier(); //?norm
    } //?norm
    if (at < 8u) { squares[at] = sum; } //?norm
    workgroupBarrier(); //?norm
    let norm = 1.0 / sqrt(sum_of_lanes(squares) / f32(WIDTH) + EPS); //?norm

    for (var block = at; block < BLOCKS; block += 64u) {
        var row = array<f32, 32>();
        var bits = 0u;
        for (var i = 0u; i < min(32u, WIDTH - block * 32u); i++) {
            let place = block * 32u + i;
            var value = x[first + place];
            value = value * norm * gain[place]; //?norm
            row[i] = value;
            bits = max(bits, bitcast<u32>(value) & 0x7fffffffu);
        }
        let scale = scale_of(bits);
        steps[group.y * BLOCKS + block] = scale.x;
        for (var word = 0u; word < 8u; word++) {
            let four = vec4(row[word * 4u], row[word * 4u + 1u], row[word * 4u + 2u], row[word * 4u + 3u]);
            quants[(group.y * BLOCKS + block) * 8u + word] = codes_of(four * scale.y);
        }
    }
}
