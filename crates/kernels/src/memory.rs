//! The process's memory: kept for the next training step instead of given back after each one.
//!
//! glibc returns large blocks to the kernel as soon as they are free; the next step then pays for
//! fresh pages, which costs more than the arithmetic of most operations here. Start at [`keep`].

/// Asks the allocator to keep freed memory for reuse. Call once, first thing in `main`.
///
/// The process then holds its peak until it ends. Does nothing where the C library isn't glibc.
/// Returns whether the allocator took the settings.
#[allow(clippy::must_use_candidate, reason = "called for its effect")]
pub fn keep() -> bool {
    settings()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn settings() -> bool {
    // From glibc's malloc.h.
    const M_TRIM_THRESHOLD: i32 = -1;
    const M_TOP_PAD: i32 = -2;
    const M_MMAP_MAX: i32 = -4;
    const TOP_PAD_BYTES: i32 = 64 << 20;
    unsafe extern "C" {
        safe fn mallopt(parameter: i32, value: i32) -> i32;
    }
    mallopt(M_MMAP_MAX, 0) == 1
        && mallopt(M_TRIM_THRESHOLD, i32::MAX) == 1
        && mallopt(M_TOP_PAD, TOP_PAD_BYTES) == 1
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn settings() -> bool {
    false
}
