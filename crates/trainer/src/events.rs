//! `events/` of a run: the numbers of `metrics.jsonl` in the form `TensorBoard` opens.
//!
//! A file of `TFRecord`s (length, masked CRC-32C, data, masked CRC-32C), each an `Event` of TensorFlow's
//! `event.proto`; of its fields a scalar needs five, which are written here by hand. Source: TensorFlow
//! `core/util/event.proto`, `core/framework/summary.proto`, `core/lib/io/record_writer.cc`.
//! Start at [`append`].

use crate::run_dir::write_file;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The one file of a run.
const FILE: &str = "events/events.out.tfevents.0.earl";
/// Protobuf tags (field number and wire type) of `Event`, `Summary` and its values.
const WALL_TIME: u8 = 0x09;
const STEP: u8 = 0x10;
const FILE_VERSION: u8 = 0x1a;
const SUMMARY: u8 = 0x2a;
const VALUE: u8 = 0x0a;
const NAME: u8 = 0x0a;
const SIMPLE_VALUE: u8 = 0x15;

/// Adds the numbers of one line of metrics; a line without `step` or numbers adds nothing.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn append(root: &Path, line: &Value) -> Result<()> {
    let Some(step) = line["step"].as_u64() else { return Ok(()) };
    let mut values = Vec::new();
    scalars("", line, &mut values);
    let path = root.join(FILE);
    let write = || -> Result<()> {
        fs::create_dir_all(root.join("events"))?;
        let fresh = fs::metadata(&path).map_or(true, |file| file.len() == 0);
        let mut bytes = if fresh { record(version(now())) } else { Vec::new() };
        bytes.extend(record(event(now(), step, &values)));
        OpenOptions::new().create(true).append(true).open(&path)?.write_all(&bytes)?;
        Ok(())
    };
    write().with_context(|| format!("writing `{}`", path.display()))
}

/// Cuts the file to events of steps below `step`; a torn end goes too.
///
/// # Errors
/// If it can't be rewritten.
pub(crate) fn truncate(root: &Path, step: u64) -> Result<()> {
    let path = root.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let kept = records(&bytes).filter(|data| step_of(data).is_none_or(|at| at < step));
    write_file(&path, &kept.flat_map(record).collect::<Vec<u8>>())
}

/// Numbers of an object, `/` between the names of nested ones; `step` is no value of its own.
fn scalars(name: &str, value: &Value, found: &mut Vec<(String, f32)>) {
    let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}/{key}") };
    match value {
        Value::Number(number) if name != "step" => {
            found.extend(number.as_f64().map(|number| (name.to_owned(), number as f32)));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| scalars(&inner(key), value, found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, value)| scalars(&inner(&at.to_string()), value, found));
        }
        _ => {}
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn version(time: f64) -> Vec<u8> {
    let mut data = vec![WALL_TIME];
    data.extend(time.to_le_bytes());
    field(&mut data, FILE_VERSION, b"brain.Event:2");
    data
}

fn event(time: f64, step: u64, values: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, number) in values {
        let mut value = Vec::new();
        field(&mut value, NAME, name.as_bytes());
        value.push(SIMPLE_VALUE);
        value.extend(number.to_le_bytes());
        field(&mut summary, VALUE, &value);
    }
    let mut data = vec![WALL_TIME];
    data.extend(time.to_le_bytes());
    data.push(STEP);
    varint(&mut data, step);
    field(&mut data, SUMMARY, &summary);
    data
}

fn field(data: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    data.push(tag);
    varint(data, bytes.len() as u64);
    data.extend(bytes);
}

fn varint(data: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        data.push(value as u8 | 0x80);
        value >>= 7;
    }
    data.push(value as u8);
}

/// The step of an event as [`event`] writes it; none in the version.
fn step_of(data: &[u8]) -> Option<u64> {
    let rest = data.get(9..)?;
    let (&STEP, digits) = rest.split_first()? else { return None };
    let mut step = 0;
    for (at, byte) in digits.iter().enumerate().take(10) {
        step |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
}

fn record(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked(data).to_le_bytes());
    bytes
}

fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The data of every whole record, up to the first torn one.
fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let (sum, after) = after.split_first_chunk::<4>()?;
        let size = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (data, after) = after.split_at_checked(size)?;
        let (data_sum, after) = after.split_first_chunk::<4>()?;
        let whole = u32::from_le_bytes(*sum) == masked(length)
            && u32::from_le_bytes(*data_sum) == masked(data);
        rest = after;
        whole.then_some(data)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_tensorflows() {
        // Made with TensorBoard's own writer: `Event(wall_time=1.5, step=300, summary=…(tag="loss", simple_value=0.25))`.
        let data = event(1.5, 300, &[("loss".into(), 0.25)]);
        let bytes = record(&data).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        let hex = bytes.concat();
        assert_eq!(
            hex,
            "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed"
        );
        assert_eq!((step_of(&data), step_of(&version(1.5))), (Some(300), None));
    }

    #[test]
    fn resumed_runs_repeat_no_event_and_torn_ends_go() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let log = |step: u64| {
            append(
                root,
                &json!({"step": step, "loss": 1.5, "seconds": [1, 2], "probe": {"add": {"n": 3}}}),
            )
        };
        (0..200).for_each(|step| log(step).unwrap());
        append(root, &json!({"note": "no step"})).unwrap();
        let path = root.join(FILE);
        let mut torn = fs::read(&path).unwrap();
        torn.truncate(torn.len() - 3);
        fs::write(&path, torn).unwrap();
        truncate(root, 150).unwrap();
        (150..152).for_each(|step| log(step).unwrap());
        let bytes = fs::read(&path).unwrap();
        let steps: Vec<Option<u64>> = records(&bytes).map(step_of).collect();
        let wanted: Vec<Option<u64>> = [None].into_iter().chain((0..152).map(Some)).collect();
        assert_eq!(steps, wanted);
        let text = String::from_utf8_lossy(&bytes);
        for name in ["loss", "seconds/0", "seconds/1", "probe/add/n"] {
            assert_eq!(text.matches(name).count(), 152, "{name}");
        }
    }
}
