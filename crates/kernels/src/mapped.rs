//! Files as memory: pages come from the disk when they are read, and go when memory is short.
//!
//! For weights that are used where they lie. A file must not shrink while it is mapped: reading
//! beyond its new end ends the process. Chunks of a bundle are named by their content and replaced
//! by renaming, so that what is mapped stays as it was. Start at [`Mapped::open`].

use std::fs::File;
use std::io;
use std::path::Path;

/// A mapped file.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps a file for reading.
    ///
    /// # Errors
    /// What the system says, for a file that is not there, not readable or empty.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the mapping is private and read-only; the module page says what callers keep to.
        unsafe { memmap2::Mmap::map(&file) }.map(Self)
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
