// One query head of one token over the cache, in the order of `fused::attention`.
// Grid: [HEADS, batch · seq]. `Info` is in `keys.wgsl`.

@bind var<storage, read_write> qkv: array<f32>;    // queries turned already
@bind var<storage, read_write> keys: array<f32>;
@bind var<storage, read_write> values: array<f32>;
@bind var<storage, read_write> shown: array<f32>; // [batch, start + seq], 1 where a key is seen //?mask
@bind var<storage, read_write> output: array<f32>; // [batch · seq, HEADS, DIM]
@bind var<uniform> info: Info;

var<workgroup> query: array<f32, DIM>;
var<workgroup> weights: array<f32, MOST_KEYS>;
var<workgroup> peaks: array<f32, 64>;
var<workgroup> sums: array<f32, 8>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    let head = group.x;
    let position = group.y;
    let limit = keys_seen(position);
    let first_key = first_key_of(position, head) * DIM;
    let from_place = (position * (HEADS + 2u * KV_HEADS) + head) * DIM;
    for (var i = at; i < DIM; i += 64u) { query[i] = qkv[from_place + i] * SCALE; }
    workgroupBarrier();

    var peak = LOWEST;
    for (var key = at; key < limit; key += 64u) {
        let vector = first_key + key * KV_HEADS * DIM;
        var lanes = array<f32, 8>(); //?lanes
        for (var i = 0u; i < DIM; i++) { lanes[i % 8u] = keys[vector + i] * query[i] + lanes[i % 8u]; } //?lanes
        var score = sum_of_lanes(lanes); //?lanes
        var score = 0.0; //?straight
        for (var i = 0u; i < DIM; i++) { score = query[i] * keys[vector + i] + score; } //?straight
        if (shown[mask_of(position) + key] < 0.5) { score = LOWEST; } //?mask
        weights[key] = score;
        peak = max(peak, score);
    }
    peaks[at] = peak;
    workgroupBarrier();
    for (var i = 0u; i < 64u; i++) { peak = max(peak, peaks[i]); }
    for (var key = at; key < limit; key += 64u) {
        let score = weights[key];
        weights[key] = select(0.0, exponential(score - peak), score > LOWEST);
    }
    workgroupBarrier();
    if (at < 8u) {
        var sum = 0.0;
        for (var key = at; key < limit; key += 8u) { sum += weights[key]; }
        sums[at] = sum;
    }
    workgroupBarrier();
    let total = sum_of_lanes(sums);
    let inverse = select(0.0, 1.0 / total, total > 0.0);
    for (var i = at; i < DIM; i += 64u) {
        var sum = 0.0;
        for (var key = 0u; key < limit; key++) { sum = weights[key] * values[first_key + key * KV_HEADS * DIM + i] + sum; }
        output[(position * HEADS + head) * DIM + i] = sum * inverse;
    }
}
