// Which keys a token sees and where they lie, shared by the shaders of attention.
struct Info { seq: u32, start: u32, room: u32, causal: u32 }

// Below every score: that of a hidden key.
const LOWEST = -3.0e38;

// How many keys of the cache the token at a position of the batch may see.
fn keys_seen(position: u32) -> u32 {
    return select(info.start + info.seq, info.start + position % info.seq + 1u, info.causal != 0u);
}

// Which vector of the cache is the first key that a query head of the token sees; KV_HEADS on is the next.
fn first_key_of(position: u32, head: u32) -> u32 {
    return position / info.seq * info.room * KV_HEADS + head / (HEADS / KV_HEADS);
}

// Where the token's row of the mask begins.
fn mask_of(position: u32) -> u32 {
    return position / info.seq * (info.start + info.seq);
}
