// One narrow row of `x` against up to 64 rows of weights of 8 bits: activations in 8 bits, sums exact, in the order of
// `quant_linear::scalar`. Grid: [⌈results / 64⌉, rows of x].
@bind var<storage, read_write> x: array<f32>;
@bind var<storage, read_write> codes: array<u32>;  // [blocks · 8, ROWS], four signed codes each
@bind var<storage, read_write> scales: array<u32>; // [⌈blocks / 2⌉, ROWS]
@bind var<storage, read_write> gain: array<f32>; //?norm
@bind var<storage, read_write> before: array<f32>; //?residual
@bind var<storage, read_write> output: array<f32>;

const BLOCKS = (WIDTH + 31u) / 32u;
const WORDS = BLOCKS * 8u;

var<workgroup> row: array<f32, BLOCKS * 32u>;
var<workgroup> quants: array<u32, WORDS>;
var<workgroup> steps: array<f32, BLOCKS>;
var<workgroup> inverses: array<f32, BLOCKS>;
var<workgroup> squares: array<f32, 8>; //?norm

fn product(r: u32) -> f32 {
    var lanes = array<f32, 8>();
    for (var block = 0u; block < BLOCKS; block++) {
        var sum = 0;
        for (var word = block * 8u; word < block * 8u + 8u; word++) {
            sum += dot4(quants[word], codes[word * ROWS + r]);
        }
        lanes[block % 8u] += f32(sum) * (half(scales[block / 2u * ROWS + r], block) * steps[block]);
    }
    return sum_of_lanes(lanes);
}

fn quantize(at: u32) {
    for (var block = at; block < BLOCKS; block += 64u) {
        var bits = 0u;
        for (var i = block * 32u; i < block * 32u + 32u; i++) {
            bits = max(bits, bitcast<u32>(row[i]) & 0x7fffffffu);
        }
        let scale = scale_of(bits);
        steps[block] = scale.x;
        inverses[block] = scale.y;
    }
    workgroupBarrier();
    for (var word = at; word < WORDS; word += 64u) {
        let four = vec4(row[word * 4u], row[word * 4u + 1u], row[word * 4u + 2u], row[word * 4u + 3u]);
        quants[word] = codes_of(four * inverses[word / 8u]);
    }
    workgroupBarrier();
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    for (var i = at; i < BLOCKS * 32u; i += 64u) {
        var value = 0.0;
        if (i < WIDTH) {
            value = x[group.y * WIDTH + i];
        }
        row[i] = value;
    }
    workgroupBarrier();
    if (at < 8u) { //?norm
        var sum = 0.0; //?norm
        for (var i = at; i < WIDTH; i += 8u) { sum = row[i] * row[i] + sum; } //?norm
        squares[at] = sum; //?norm
    } //?norm
    workgroupBarrier(); //?norm
    let inverse = 1.0 / sqrt(sum_of_lanes(squares) / f32(WIDTH) + EPS); //?norm
    for (var i = at; i < WIDTH; i += 64u) { row[i] = row[i] * inverse * gain[i]; } //?norm
    workgroupBarrier(); //?norm
    quantize(at);
    let r = group.x * 64u + at;
    if (r >= RESULTS) { return; }
    var result = product(r);
    let negative = 0.0 - result; //?swiglu
    result = result * (1.0 / (1.0 + exponential(negative))) * product(RESULTS + r); //?swiglu
    let place = group.y * RESULTS + r;
    result = before[place] + result; //?residual
    output[place] = result;
}
