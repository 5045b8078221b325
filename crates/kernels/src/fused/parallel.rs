//! Work over several cores, cut the same way whatever the number of cores.
//!
//! The caller cuts its slices into pieces of a fixed size, so that results are equal bit for bit
//! for one thread and for many. Without feature `flex` the pieces run one after the other.

/// Runs `work` on every piece, in any order, on every core.
pub(crate) fn for_each<T: Send>(pieces: Vec<T>, work: impl Fn(T) + Sync + Send) {
    #[cfg(feature = "flex")]
    if pieces.len() > 1 {
        use rayon::prelude::*;
        return pieces.into_par_iter().with_max_len(1).for_each(work);
    }
    pieces.into_iter().for_each(work);
}

/// Rows in a piece, so that a piece holds about `floats` floats.
pub(crate) fn rows_in_piece(row: usize, floats: usize) -> usize {
    (floats / row.max(1)).max(1)
}
