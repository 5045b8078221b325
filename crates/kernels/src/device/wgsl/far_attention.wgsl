// One query head of one token over a cache of any length, 256 keys at a time: weights are taken relative to
// the highest score so far, and what was summed is scaled when it rises (Dao et al., arXiv 2205.14135).
// Grid: [HEADS, batch · seq]. `Info` is in `keys.wgsl`.

@bind var<storage, read_write> qkv: array<vec4<f32>>;    // queries turned already
@bind var<storage, read_write> keys: array<vec4<f32>>;
@bind var<storage, read_write> values: array<vec4<f32>>;
@bind var<storage, read_write> shown: array<f32>; // [batch, start + seq], 1 where a key is seen //?mask
@bind var<storage, read_write> output: array<vec4<f32>>; // [batch · seq, HEADS, DIM]
@bind var<uniform> info: Info;

const FOURS = DIM / 4u;
// Threads that share a vector's numbers take every SLICES-th key each.
const SLICES = 256u / FOURS;

var<workgroup> query: array<vec4<f32>, FOURS>;
var<workgroup> weights: array<f32, 256>;
var<workgroup> folded: array<f32, 256>;
var<workgroup> sums: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    let head = group.x;
    let position = group.y;
    let limit = keys_seen(position);
    let first_key = first_key_of(position, head) * FOURS;
    if (at < FOURS) { query[at] = qkv[(position * (HEADS + 2u * KV_HEADS) + head) * FOURS + at] * SCALE; }
    workgroupBarrier();

    let four = at % FOURS;
    let slice = at / FOURS;
    var peak = LOWEST;
    var total = 0.0;
    var sum = vec4<f32>();
    for (var first = 0u; first < limit; first += 256u) {
        var score = LOWEST;
        if (first + at < limit) {
            score = 0.0;
            let vector = first_key + (first + at) * KV_HEADS * FOURS;
            for (var i = 0u; i < FOURS; i++) { score += dot(query[i], keys[vector + i]); }
            if (shown[mask_of(position) + first + at] < 0.5) { score = LOWEST; } //?mask
        }
        folded[at] = score;
        workgroupBarrier();
        for (var step = 128u; step > 0u; step >>= 1u) {
            if (at < step) { folded[at] = max(folded[at], folded[at + step]); }
            workgroupBarrier();
        }
        let higher = max(peak, folded[0]);
        let kept = exponential(peak - higher);
        let weight = select(0.0, exponential(score - higher), score > LOWEST);
        peak = higher;
        workgroupBarrier();
        weights[at] = weight;
        folded[at] = weight;
        workgroupBarrier();
        for (var step = 128u; step > 0u; step >>= 1u) {
            if (at < step) { folded[at] += folded[at + step]; }
            workgroupBarrier();
        }
        total = total * kept + folded[0];
        sum *= kept;
        if (slice < SLICES) {
            for (var key = first + slice; key < min(first + 256u, limit); key += SLICES) {
                sum += weights[key - first] * values[first_key + key * KV_HEADS * FOURS + four];
            }
        }
        workgroupBarrier();
    }
    sums[at] = sum;
    workgroupBarrier();
    if (at >= FOURS) { return; }
    for (var i = 1u; i < SLICES; i++) { sum += sums[i * FOURS + at]; }
    output[(position * HEADS + head) * FOURS + at] = sum * select(0.0, 1.0 / total, total > 0.0);
}
