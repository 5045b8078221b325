// Up to PLACES rows of codes against 32 rows of weights, each row's eight lanes on eight threads, in the
// order of `quant_linear::scalar`. Grid: [⌈take / 32⌉, ⌈count / PLACES⌉].
struct Info { count: u32, first: u32, take: u32, unused: u32 }

@bind var<storage, read_write> quants: array<u32>; // [count, BLOCKS · 8], four signed codes each
@bind var<storage, read_write> steps: array<f32>;  // [count, BLOCKS]
@bind var<storage, read_write> codes: array<u32>;  // [BLOCKS · WORDS, ROWS]
@bind var<storage, read_write> scales: array<u32>; // [⌈BLOCKS / 2⌉, ROWS]
@bind var<storage, read_write> before: array<f32>; //?residual
@bind var<storage, read_write> output: array<f32>; // [count, take], of rows `first`, `first + 1`, …
@bind var<uniform> info: Info;

const BLOCKS = (WIDTH + 31u) / 32u;

var<workgroup> lanes: array<f32, 256u * PLACES>;

// Sums of one row of weights for the thread's place of PLACES, on whichever threads end them.
fn product(r: u32, place: u32, lane: u32, column: u32) -> f32 {
    var sums = array<f32, PLACES>();
    for (var block = lane; block < BLOCKS; block += 8u) {
        var words = array<u32, WORDS>();
        for (var i = 0u; i < WORDS; i++) { words[i] = codes[(block * WORDS + i) * ROWS + r]; }
        let scale = half(scales[block / 2u * ROWS + r], block);
        for (var p = 0u; p < PLACES; p++) {
            let row = min(place + p, info.count - 1u) * BLOCKS + block;
            var sum = 0;
            for (var i = 0u; i < 8u; i++) { sum += dot4(quants[row * 8u + i], words[i]); } //?bytes
            for (var i = 0u; i < 4u; i++) { sum += dot8(quants[row * 8u + i * 2u], quants[row * 8u + i * 2u + 1u], words[i]); } //?nibbles
            sums[p] += f32(sum) * (scale * steps[row]);
        }
    }
    for (var p = 0u; p < PLACES; p++) { lanes[(p * 8u + lane) * 32u + column] = sums[p]; }
    workgroupBarrier();
    let base = min(lane, PLACES - 1u) * 256u + column;
    let total = ((lanes[base] + lanes[base + 128u]) + (lanes[base + 64u] + lanes[base + 192u]))
        + ((lanes[base + 32u] + lanes[base + 160u]) + (lanes[base + 96u] + lanes[base + 224u]));
    workgroupBarrier();
    return total;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    let lane = at / 32u;
    let column = at % 32u;
    let r = group.x * 32u + column;
    let row = info.first + min(r, info.take - 1u);
    let place = group.y * PLACES;
    var result = product(row, place, lane, column);
    let negative = 0.0 - result; //?swiglu
    result = result * (1.0 / (1.0 + exponential(negative))) * product(ROWS / 2u + row, place, lane, column); //?swiglu
    if (r >= info.take || lane >= PLACES || place + lane >= info.count) { return; }
    let to = (place + lane) * info.take + r;
    result = before[to] + result; //?residual
    output[to] = result;
}
