// Dot products of queries with keys, in the order of `fused::scores`. Grid: [⌈KEYS / 64⌉, batch · seq].
struct Info { seq: u32, keys: u32, unused: vec2<u32> }

@bind var<storage, read_write> queries: array<f32>; // [batch · seq, DIM]
@bind var<storage, read_write> keys: array<f32>;    // [batch, keys, DIM]
@bind var<storage, read_write> output: array<f32>;  // [batch · seq, keys]
@bind var<uniform> info: Info;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) place: vec3<u32>) {
    if (place.x >= info.keys) { return; }
    let key = (place.y / info.seq * info.keys + place.x) * DIM;
    let query = place.y * DIM;
    var lanes = array<f32, 8>();
    for (var i = 0u; i < DIM; i++) { lanes[i % 8u] = keys[key + i] * queries[query + i] + lanes[i % 8u]; }
    output[place.y * info.keys + place.x] = sum_of_lanes(lanes);
}
