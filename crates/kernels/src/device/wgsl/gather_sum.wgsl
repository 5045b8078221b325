// Rows of up to five tables, added up and scaled. Grid: [⌈WIDTH / 64⌉, count].
struct Info { count: u32, unused_a: u32, unused_b: u32, unused_c: u32 }

@bind var<storage, read_write> ids: array<i32>; // [tables, count], −1 for none
@bind var<storage, read_write> table0: array<f32>;
@bind var<storage, read_write> table1: array<f32>; //?1
@bind var<storage, read_write> table2: array<f32>; //?2
@bind var<storage, read_write> table3: array<f32>; //?3
@bind var<storage, read_write> table4: array<f32>; //?4
@bind var<storage, read_write> output: array<f32>; // [count, WIDTH]
@bind var<uniform> info: Info;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) place: vec3<u32>) {
    let i = place.x;
    let at = place.y;
    if (i >= WIDTH) { return; }
    var sum = 0.0;
    let id0 = ids[at];
    if (id0 >= 0) { sum += table0[u32(id0) * WIDTH + i]; }
    let id1 = ids[info.count + at]; //?1
    if (id1 >= 0) { sum += table1[u32(id1) * WIDTH + i]; } //?1
    let id2 = ids[info.count * 2u + at]; //?2
    if (id2 >= 0) { sum += table2[u32(id2) * WIDTH + i]; } //?2
    let id3 = ids[info.count * 3u + at]; //?3
    if (id3 >= 0) { sum += table3[u32(id3) * WIDTH + i]; } //?3
    let id4 = ids[info.count * 4u + at]; //?4
    if (id4 >= 0) { sum += table4[u32(id4) * WIDTH + i]; } //?4
    output[at * WIDTH + i] = sum * SCALE;
}
