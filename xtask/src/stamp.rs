//! A stamp: SHA-256 over named pieces, so that one change of a name, a byte or a border changes it.

use crate::folders::files_below;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Collects pieces; their order matters.
#[derive(Default)]
pub(crate) struct Stamp(Sha256);

impl Stamp {
    /// Adds one piece.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) {
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    /// Adds every file below `root/path`, in order of their names.
    pub(crate) fn add_files(&mut self, root: &Path, path: &str) -> Result<()> {
        let mut files = Vec::new();
        files_below(&root.join(path), &mut files)?;
        files.sort();
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("reading `{}`", file.display()))?;
            self.add(&file.strip_prefix(root).unwrap_or(&file).to_string_lossy(), &bytes);
        }
        Ok(())
    }

    /// 64 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
        let hash = self.0.finalize();
        hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(pieces: &[(&str, &str)]) -> String {
        let mut stamp = Stamp::default();
        for (name, text) in pieces {
            stamp.add(name, text.as_bytes());
        }
        stamp.finish()
    }

    #[test]
    fn the_hash_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Stamp::default().finish(), empty);
    }

    #[test]
    fn names_contents_and_borders_count() {
        let base = stamp(&[("a", "bc"), ("d", "")]);
        assert_eq!(base, stamp(&[("a", "bc"), ("d", "")]));
        for other in [
            stamp(&[("a", "bd"), ("d", "")]),
            stamp(&[("ab", "c"), ("d", "")]),
            stamp(&[("a", "bcd"), ("", "")]),
            stamp(&[("d", ""), ("a", "bc")]),
            stamp(&[("a", "bc")]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn files_are_stamped_in_order_of_name() {
        let root = crate::folders::root();
        let folder = |path| {
            let mut stamp = Stamp::default();
            stamp.add_files(&root, path).map(|()| stamp.finish())
        };
        assert_eq!(folder("xtask/src").unwrap(), folder("xtask/src").unwrap());
        assert_ne!(folder("xtask/src").unwrap(), folder("xtask/src/setup").unwrap());
        assert!(folder("xtask/no-such-folder").is_err());
    }
}
