// One row, in the order of `fused::rms_norm`. Grid: [1, rows].
@bind var<storage, read_write> x: array<f32>;
@bind var<storage, read_write> gain: array<f32>;
@bind var<storage, read_write> output: array<f32>;

var<workgroup> squares: array<f32, 8>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    let first = group.y * WIDTH;
    if (at < 8u) {
        var sum = 0.0;
        for (var i = at; i < WIDTH; i += 8u) { sum = x[first + i] * x[first + i] + sum; }
        squares[at] = sum;
    }
    workgroupBarrier();
    let inverse = 1.0 / sqrt(sum_of_lanes(squares) / f32(WIDTH) + EPS);
    for (var i = at; i < WIDTH; i += 64u) { output[first + i] = x[first + i] * inverse * gain[i]; }
}
