//! Safetensors files in any number of shards: headers checked, then tensors read one at a time.
//!
//! Only headers are read on opening; a tensor's bytes are read when it is asked for, in pieces, so
//! that loading needs memory for one tensor beside the model, whatever the size of a shard. Where
//! bytes come from is the caller's: [`ReadAt`] is a slice in a browser, a file natively.
//! No value is trusted before the header was checked against the file's own length.
//!
//! Source: the safetensors format, <https://github.com/huggingface/safetensors>; its crate parses
//! headers and refuses gaps, overlaps and sizes that overflow. Start at [`Shards::open`].

use crate::checkpoint::HostTensor;
use crate::error::ModelError;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Bytes that can be read anywhere.
pub trait ReadAt {
    /// Their number.
    fn size(&self) -> u64;

    /// Fills `into` from `offset` on; both lie within `0..size()`.
    ///
    /// # Errors
    /// What the reader says, for people.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String>;
}

impl<T: AsRef<[u8]>> ReadAt for T {
    fn size(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let start = usize::try_from(offset).map_err(|problem| problem.to_string())?;
        let part = start.checked_add(into.len()).and_then(|end| self.as_ref().get(start..end));
        into.copy_from_slice(part.ok_or("ends early")?);
        Ok(())
    }
}

/// Where one tensor lies, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Type of each value.
    pub dtype: Dtype,
    /// Size of each axis.
    pub shape: Vec<usize>,
    shard: usize,
    offset: u64,
}

impl Entry {
    /// Number of values; checked on opening not to overflow.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Is an axis of size 0?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tensors of one directory, by name.
pub struct Shards {
    files: Vec<(String, Box<dyn ReadAt>)>,
    entries: BTreeMap<String, Entry>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The shard names that an index file asks for, sorted, each a plain file name.
///
/// # Errors
/// [`ModelError::Format`] if it is no index or names a path instead of a file beside it.
pub fn files_of_index(index: &[u8]) -> Result<Vec<String>, ModelError> {
    let files: BTreeSet<String> = parse_index(index)?.weight_map.into_values().collect();
    let leaves = |name: &String| {
        name.is_empty() || name.contains(['/', '\\', '\0']) || name == "." || name == ".."
    };
    match files.iter().find(|name| leaves(name)) {
        Some(name) => Err(in_index(format!("`{name}` is not the name of a file beside it"))),
        None => Ok(files.into_iter().collect()),
    }
}

fn parse_index(index: &[u8]) -> Result<Index, ModelError> {
    serde_json::from_slice(index).map_err(|problem| in_index(problem.to_string()))
}

fn in_index(problem: String) -> ModelError {
    ModelError::Format { what: "model.safetensors.index.json".into(), problem }
}

/// Longest header read, in bytes; the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;
/// Bytes read from a file at once.
const PIECE_BYTES: usize = 8 << 20;

impl Shards {
    /// Reads and checks the headers of `files` (name, bytes), and the index if there is one.
    ///
    /// # Errors
    /// [`ModelError::Format`] for a header that is malformed, lies about offsets or sizes, or does
    /// not fit its file; [`ModelError::Checkpoint`] lists every tensor that is in two files, or
    /// whose place differs from what the index says.
    pub fn open(
        files: Vec<(String, Box<dyn ReadAt>)>,
        index: Option<&[u8]>,
    ) -> Result<Self, ModelError> {
        let (mut entries, mut problems) = (BTreeMap::<String, Entry>::new(), Vec::new());
        for (shard, (file, bytes)) in files.iter().enumerate() {
            for (name, entry) in read_header(file, bytes.as_ref(), shard)? {
                if let Some(other) = entries.get(&name) {
                    let first = &files[other.shard].0;
                    problems.push(format!("`{name}` is in `{first}` and in `{file}`"));
                } else {
                    entries.insert(name, entry);
                }
            }
        }
        let shards = Self { files, entries };
        if let Some(index) = index {
            shards.compare(&parse_index(index)?, &mut problems);
        }
        if problems.is_empty() {
            return Ok(shards);
        }
        let fix = "fetch the directory again; the index and the shards must be of one download";
        let what = "the set of shards".into();
        Err(ModelError::Checkpoint { what, problems, fix: fix.into() })
    }

    /// A single file of that name.
    ///
    /// # Errors
    /// As [`Shards::open`].
    pub fn single(name: &str, bytes: impl ReadAt + 'static) -> Result<Self, ModelError> {
        Self::open(vec![(name.into(), Box::new(bytes))], None)
    }

    fn compare(&self, index: &Index, problems: &mut Vec<String>) {
        for (name, file) in &index.weight_map {
            match self.entries.get(name) {
                Some(entry) if self.files[entry.shard].0 == *file => {}
                Some(entry) => problems.push(format!(
                    "`{name}` is in `{}`, the index says `{file}`",
                    self.files[entry.shard].0
                )),
                None => {
                    problems.push(format!("`{name}` is not in `{file}`, where the index has it"));
                }
            }
        }
        for (name, entry) in &self.entries {
            if !index.weight_map.contains_key(name) {
                let file = &self.files[entry.shard].0;
                problems.push(format!("`{name}` is in `{file}` but not in the index"));
            }
        }
    }

    /// Every tensor, in the order of names.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Names and sizes in bytes of the files.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.size()))
    }

    /// Names of the files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// The file that holds a tensor.
    #[must_use]
    pub fn file_of(&self, entry: &Entry) -> &str {
        self.files.get(entry.shard).map_or("?", |(name, _)| name)
    }

    /// Reads one tensor, widened to float32. Memory: its values, and 8 MiB.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] if there is none of that name; [`ModelError::Format`] if it is not
    /// F32, F16 or BF16 or holds a value that is no finite number; [`ModelError::Read`].
    pub fn read(&self, name: &str) -> Result<HostTensor, ModelError> {
        let rows = self.entries.get(name).and_then(|entry| entry.shape.first());
        self.read_rows(name, 0..rows.copied().unwrap_or(1))
    }

    /// Reads some rows of a tensor: places along its first axis. Memory: their values, and 8 MiB.
    ///
    /// # Errors
    /// As [`Shards::read`]; [`ModelError::Tensors`] too for rows that are not there.
    pub fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<HostTensor, ModelError> {
        let missing = || ModelError::Tensors(format!("`{name}` is missing"));
        let entry = self.entries.get(name).ok_or_else(missing)?;
        let (file, bytes) = self.files.get(entry.shard).ok_or_else(missing)?;
        let what = || format!("`{name}` in `{file}`");
        let broken = |problem: String| ModelError::Format { what: what(), problem };
        let Some(width) = float_bytes(entry.dtype) else {
            return Err(broken(format!("is {}; F32, F16 and BF16 are read", entry.dtype)));
        };
        let held = entry.shape.first().copied().unwrap_or(1);
        if rows.start > rows.end || rows.end > held {
            let Range { start, end } = rows;
            return Err(ModelError::Tensors(format!(
                "`{name}` has {held} rows, not {start}..{end}"
            )));
        }
        let row = entry.len().checked_div(held).unwrap_or(0);
        let (total, first) = (rows.len() * row * width, (rows.start * row * width) as u64);
        let mut data = Vec::with_capacity(rows.len() * row);
        let mut piece = vec![0; total.min(PIECE_BYTES)];
        for start in (0..total).step_by(PIECE_BYTES) {
            let piece = &mut piece[..PIECE_BYTES.min(total - start)];
            bytes
                .read_at(entry.offset + first + start as u64, piece)
                .map_err(|problem| ModelError::Read { what: what(), problem })?;
            widen(entry.dtype, piece, &mut data);
        }
        if let Some(at) = data.iter().position(|value| !value.is_finite()) {
            return Err(broken(format!("holds {} at index {}", data[at], rows.start * row + at)));
        }
        let mut shape = entry.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        Ok(HostTensor { shape, data })
    }
}

/// Bytes of a value of the float types that are read.
pub(super) fn float_bytes(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

fn widen(dtype: Dtype, bytes: &[u8], into: &mut Vec<f32>) {
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    let fours = || bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
    match dtype {
        Dtype::F16 => into.extend(pairs().map(|b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => into.extend(pairs().map(|b| bf16::from_le_bytes(b).to_f32())),
        _ => into.extend(fours().map(f32::from_le_bytes)),
    }
}

/// The entries of one file, sorted by name.
fn read_header(
    file: &str,
    bytes: &dyn ReadAt,
    shard: usize,
) -> Result<BTreeMap<String, Entry>, ModelError> {
    let broken = |problem: String| ModelError::Format { what: format!("`{file}`"), problem };
    let read = |offset, into: &mut [u8]| {
        bytes
            .read_at(offset, into)
            .map_err(|problem| ModelError::Read { what: format!("`{file}`"), problem })
    };
    let size = bytes.size();
    if size < 8 {
        return Err(broken(format!("has {size} bytes, fewer than a header's length takes")));
    }
    let mut length = [0; 8];
    read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER.min(size - 8) {
        return Err(broken(format!("announces a header of {length} bytes in a file of {size}")));
    }
    let mut header = vec![0; length as usize];
    read(8, &mut header)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|problem| broken(format!("header: {problem}")))?;
    let (held, wanted) = (size - 8 - length, header.data_len() as u64);
    if held != wanted {
        let how = if held < wanted { "is cut off" } else { "is too long" };
        return Err(broken(format!("{how}: {held} bytes of values, the header says {wanted}")));
    }
    let entry = |info: &safetensors::tensor::TensorInfo| Entry {
        dtype: info.dtype,
        shape: info.shape.clone(),
        shard,
        offset: 8 + length + info.data_offsets.0 as u64,
    };
    Ok(header.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(values);
        bytes
    }

    fn problem(bytes: Vec<u8>) -> String {
        Shards::single("a.safetensors", bytes).err().unwrap().to_string()
    }

    const TWO: &str = r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}"#;

    #[test]
    fn values_of_all_three_types_are_widened() {
        let header = TWO
            .replace("[4,8]}}", r#"[4,8]},"z":{"dtype":"F16","shape":[],"data_offsets":[8,10]}}"#);
        let values = [0, 0, 0xc0, 0x3f, 0x80, 0x3f, 0, 0xc0, 0, 0x3e];
        let shards = Shards::single("a", file(&header, &values)).unwrap();
        assert_eq!(shards.read("x").unwrap().data, [1.5]);
        assert_eq!(shards.read("y").unwrap().data, [1.0, -2.0]);
        assert_eq!(shards.read("z").unwrap(), HostTensor { shape: vec![], data: vec![1.5] });
        assert!(shards.read("w").is_err());
    }

    #[test]
    fn files_that_lie_are_refused_and_say_where() {
        assert!(problem(vec![1, 2, 3]).contains("3 bytes"));
        assert!(problem(u64::MAX.to_le_bytes().to_vec()).contains("18446744073709551615"));
        assert!(problem(file(TWO, &[0; 7])).contains("cut off"));
        assert!(problem(file(TWO, &[0; 9])).contains("too long"));
        let with = |from: &str, to: &str| problem(file(&TWO.replace(from, to), &[0; 8]));
        for (from, to) in [
            ("[4,8]", "[2,6]"),                                       // overlap
            ("[4,8]", "[5,9]"),                                       // gap
            ("[4,8]", "[8,4]"),                                       // backwards
            (r#""shape":[2]"#, r#""shape":[3]"#),                     // size and shape disagree
            (r#""shape":[2]"#, r#""shape":[9223372036854775808,2]"#), // 2^63 · 2 overflows
            (r#""shape":[2]"#, r#""shape":[-1]"#),
            (r#""BF16""#, r#""BF17""#),
            (r#"{"x""#, "{\"x"),
        ] {
            assert!(with(from, to).contains("`a.safetensors`: header"), "{to}: {}", with(from, to));
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        let shards = Shards::single("a", file(TWO, &[0, 0, 0, 0, 0, 0, 0xc0, 0x7f])).unwrap();
        let message = shards.read("y").unwrap_err().to_string();
        assert_eq!(message, "`y` in `a`: holds NaN at index 1");
    }

    #[test]
    fn the_index_is_held_against_the_shards() {
        let open = |index: &str| {
            let files: Vec<(String, Box<dyn ReadAt>)> =
                vec![("a".into(), Box::new(file(TWO, &[0; 8])))];
            Shards::open(files, Some(index.as_bytes())).map(|_| ())
        };
        open(r#"{"metadata": {}, "weight_map": {"x": "a", "y": "a"}}"#).unwrap();
        let error = open(r#"{"weight_map": {"x": "b", "w": "a"}}"#).unwrap_err();
        let ModelError::Checkpoint { problems, .. } = &error else { panic!("{error}") };
        assert_eq!(problems.len(), 3, "{error}");
        assert!(open("{").is_err());
        assert!(files_of_index(br#"{"weight_map": {"x": "../secret"}}"#).is_err());
        assert_eq!(files_of_index(br#"{"weight_map": {"x": "b", "y": "b"}}"#).unwrap(), ["b"]);
        let twice = vec![
            ("a".to_owned(), Box::new(file(TWO, &[0; 8])) as Box<dyn ReadAt>),
            ("b".to_owned(), Box::new(file(TWO, &[0; 8]))),
        ];
        assert!(Shards::open(twice, None).err().unwrap().to_string().contains("`x` is in `a` and"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn damaged_files_never_panic(
            edits in prop::collection::vec((0usize..140, any::<u8>()), 1..6),
            cut in 0usize..160,
        ) {
            let mut bytes = file(TWO, &[0; 8]);
            for (at, byte) in edits {
                if let Some(to) = bytes.get_mut(at) { *to = byte; }
            }
            bytes.truncate(cut.max(1));
            if let Ok(shards) = Shards::single("a", bytes) {
                for name in shards.entries().keys() {
                    drop(shards.read(name));
                }
            }
        }

        #[test]
        fn headers_of_any_numbers_never_panic_or_allocate(
            sizes in prop::collection::vec(any::<u64>(), 0..4),
            from in any::<u64>(),
            to in any::<u64>(),
        ) {
            let header =
                format!(r#"{{"x":{{"dtype":"F32","shape":{sizes:?},"data_offsets":[{from},{to}]}}}}"#);
            if let Ok(shards) = Shards::single("a", file(&header, &[0; 8])) {
                prop_assert!(shards.entries()["x"].len() <= 2);
            }
        }
    }
}
