// The greatest number of one row. Grid: [1, rows].
@bind var<storage, read_write> x: array<f32>;      // [rows, WIDTH]
@bind var<storage, read_write> output: array<f32>; // [rows, 1]

var<workgroup> greatest: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    let first = group.y * WIDTH;
    var own = x[first];
    for (var i = at; i < WIDTH; i += 64u) { own = max(own, x[first + i]); }
    greatest[at] = own;
    workgroupBarrier();
    if (at == 0u) {
        for (var i = 1u; i < 64u; i++) { own = max(own, greatest[i]); }
        output[group.y] = own;
    }
}
