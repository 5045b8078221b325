// The greatest logit of a row (the first of equals), its log-probability and the row's entropy in nats.
// Grid: [1, rows].
@bind var<storage, read_write> logits: array<f32>; // [rows, WIDTH]
@bind var<storage, read_write> output: array<f32>; // [rows, 4]: index, log-probability, entropy, the next best's distance

var<workgroup> bests: array<f32, 64>;
var<workgroup> places: array<u32, 64>;
var<workgroup> nexts: array<f32, 64>;
var<workgroup> sums: array<f32, 64>;
var<workgroup> moments: array<f32, 64>;

const LOWEST = -3.4e38;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
    let first = group.y * WIDTH;
    var best = LOWEST;
    var place = WIDTH;
    var next = LOWEST;
    for (var i = at; i < WIDTH; i += 64u) {
        let logit = logits[first + i];
        if (logit > best) {
            next = best;
            best = logit;
            place = i;
        } else {
            next = max(next, logit);
        }
    }
    bests[at] = best;
    places[at] = place;
    nexts[at] = next;
    workgroupBarrier();
    best = LOWEST;
    place = WIDTH;
    next = LOWEST;
    for (var i = 0u; i < 64u; i++) {
        if (bests[i] > best || (bests[i] == best && places[i] < place)) {
            next = max(best, nexts[i]);
            best = bests[i];
            place = places[i];
        } else {
            next = max(next, bests[i]);
        }
    }
    var sum = 0.0;
    var moment = 0.0;
    for (var i = at; i < WIDTH; i += 64u) {
        let above = logits[first + i] - best;
        let weight = exponential(above);
        // What is no number makes the whole row none.
        let is_number = (bitcast<u32>(above) & 0x7fffffffu) <= 0x7f800000u;
        sum += select(above, weight, is_number);
        moment += weight * above;
    }
    sums[at] = sum;
    moments[at] = moment;
    workgroupBarrier();
    if (at > 0u) { return; }
    for (var i = 1u; i < 64u; i++) {
        sum += sums[i];
        moment += moments[i];
    }
    let log_sum = log(sum);
    output[group.y * 4u] = f32(place);
    output[group.y * 4u + 1u] = 0.0 - log_sum;
    output[group.y * 4u + 2u] = max(log_sum - moment / sum, 0.0);
    output[group.y * 4u + 3u] = best - next;
}
