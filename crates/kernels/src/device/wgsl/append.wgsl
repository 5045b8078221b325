// Turns queries (in place) and keys, and writes keys and values behind those of the cache.
// Grid: [⌈pairs / 64⌉, batch · seq].
struct Info { seq: u32, start: u32, room: u32, unused: u32 }

@bind var<storage, read_write> qkv: array<f32>;    // [batch · seq, (HEADS + 2 · KV_HEADS) · DIM]
@bind var<storage, read_write> cosines: array<f32>; // [batch · seq, DIM / 2]
@bind var<storage, read_write> sines: array<f32>;
@bind var<storage, read_write> keys: array<f32>;   // [batch, room, KV_HEADS, DIM]
@bind var<storage, read_write> values: array<f32>;
@bind var<uniform> info: Info;

const HALF = DIM / 2u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) place: vec3<u32>) {
    let position = place.y;
    let head = place.x / HALF;
    let pair = place.x % HALF;
    if (head >= HEADS + 2u * KV_HEADS) { return; }
    let from_place = (position * (HEADS + 2u * KV_HEADS) + head) * DIM + pair;
    let first = qkv[from_place];
    let second = qkv[from_place + HALF];
    let cosine = cosines[position * HALF + pair];
    let sine = sines[position * HALF + pair];
    let turned_first = first * cosine - second * sine;
    let turned_second = second * cosine + first * sine;
    if (head < HEADS) {
        qkv[from_place] = turned_first;
        qkv[from_place + HALF] = turned_second;
        return;
    }
    let entry = (position / info.seq) * info.room + info.start + position % info.seq;
    if (head < HEADS + KV_HEADS) {
        let to_place = (entry * KV_HEADS + head - HEADS) * DIM + pair;
        keys[to_place] = turned_first;
        keys[to_place + HALF] = turned_second;
    } else {
        let to_place = (entry * KV_HEADS + head - HEADS - KV_HEADS) * DIM + pair;
        values[to_place] = first;
        values[to_place + HALF] = second;
    }
}
