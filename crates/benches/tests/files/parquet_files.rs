//! The same on Parquet, written by the library that reads it, in the schemas Hugging Face writes.

use super::{all, said, shipped};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

type Texts<'a> = &'a [Option<&'a [u8]>];

/// Writes the next column: bytes or text, `top` levels of nesting above the value.
fn put(group: &mut SerializedRowGroupWriter<'_, File>, values: Texts<'_>, depth: i16) {
    let mut column = group.next_column().unwrap().unwrap();
    let found: Vec<ByteArray> =
        values.iter().flatten().map(|value| value.to_vec().into()).collect();
    let levels: Vec<i16> =
        values.iter().map(|value| if value.is_some() { depth } else { 0 }).collect();
    column.typed::<ByteArrayType>().write_batch(&found, Some(&levels), None).unwrap();
    column.close().unwrap();
}

fn write(file: &Path, schema: &str, columns: impl FnOnce(&mut SerializedRowGroupWriter<'_, File>)) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties =
        WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let mut writer =
        SerializedFileWriter::new(File::create(file).unwrap(), schema, Arc::new(properties))
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    columns(&mut group);
    group.close().unwrap();
    writer.close().unwrap();
}

const PICTURE: &str = "{ optional binary bytes; optional binary path (UTF8); }";

/// Emu Edit's schema with a column nobody asks for.
fn emu_edit(file: &Path) {
    let schema = format!(
        "message schema {{ optional int32 idx; optional binary hash (UTF8); optional group image {PICTURE} optional binary instruction (UTF8); optional binary task (UTF8); }}"
    );
    write(file, &schema, |group| {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(&[7, 8, 9], Some(&[1, 1, 1]), None).unwrap();
        column.close().unwrap();
        put(group, &[Some(b"h"), Some(b"h"), None], 1);
        put(group, &[Some(b"png"), None, Some(b"png3")], 2);
        put(group, &[Some(b"a.png"), None, None], 2);
        put(group, &[Some(b"Remove the cat"), Some(b"Add a dog"), Some(b"  ")], 1);
        put(group, &[Some(b"remove"), Some(b"add"), Some(b"add")], 1);
    });
}

#[test]
fn pictures_in_structs_are_read_and_bad_rows_numbered() {
    let folder = tempfile::tempdir().unwrap();
    emu_edit(&folder.path().join("test-00000.parquet"));
    let (rows, bad) = all(&shipped("emuedit"), folder.path()).unwrap();
    assert_eq!(rows.len(), 1, "{bad:?}");
    assert_eq!((rows[0].id.as_str(), rows[0].op.as_deref()), ("7", Some("remove")));
    assert_eq!(
        (rows[0].instruction.as_str(), &rows[0].source[..]),
        ("Remove the cat", &b"png"[..])
    );
    let bad = said(&bad);
    assert!(bad[0].contains("row 2: `image` holds no picture"), "{bad:?}");
    assert!(bad[1].contains("row 3: `instruction` is empty"), "{bad:?}");
}

#[test]
fn lists_and_filters() {
    let folder = tempfile::tempdir().unwrap();
    // OmniEdit: the instruction is a list; its first entry counts.
    let omni = folder.path().join("dev.parquet");
    let schema = format!(
        "message schema {{ optional binary omni_edit_id (UTF8); optional binary task (UTF8); optional group src_img {PICTURE} optional group edited_img {PICTURE} optional group edited_prompt_list (LIST) {{ repeated group list {{ optional binary element (UTF8); }} }} }}"
    );
    write(&omni, &schema, |group| {
        put(group, &[Some(b"one")], 1);
        put(group, &[Some(b"swap")], 1);
        for _ in 0..2 {
            put(group, &[Some(b"png")], 2);
            put(group, &[None], 2);
        }
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> = vec!["first".into(), "second".into()];
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&[3, 3]), Some(&[0, 1])).unwrap();
        column.close().unwrap();
    });
    let (rows, bad) = all(&shipped("omniedit"), &omni).unwrap();
    assert_eq!(bad, []);
    assert_eq!(
        (rows[0].instruction.as_str(), rows[0].target.as_deref()),
        ("first", Some(&b"png"[..]))
    );

    // GEdit: one language of two.
    let gedit = folder.path().join("gedit.parquet");
    let schema = format!(
        "message schema {{ optional binary task_type (UTF8); optional binary key (UTF8); optional binary instruction (UTF8); optional binary instruction_language (UTF8); optional group input_image_raw {PICTURE} }}"
    );
    write(&gedit, &schema, |group| {
        put(group, &[Some(&b"color_alter"[..]); 2], 1);
        put(group, &[Some(b"k1"), Some(b"k2")], 1);
        put(group, &[Some("变红".as_bytes()), Some(b"Make it red")], 1);
        put(group, &[Some(b"cn"), Some(b"en")], 1);
        put(group, &[Some(&b"png"[..]); 2], 2);
        put(group, &[None; 2], 2);
    });
    let (rows, bad) = all(&shipped("gedit"), &gedit).unwrap();
    assert_eq!((rows.len(), rows[0].id.as_str(), bad.len()), (1, "k2", 0));
    assert_eq!(rows[0].place.row, 2, "rows left out are counted");
}

#[test]
fn plain_binary_prefixes_and_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // VisMin: plain binary, a prefix on the instruction, the kind of edit in the file's name.
    let vismin = folder.path().join("counting-00001.parquet");
    let schema = "message schema { optional binary id (UTF8); optional binary source_image; optional binary edited_image; optional binary edit_instruction (UTF8); }";
    write(&vismin, schema, |group| {
        put(group, &[Some(b"v")], 1);
        put(group, &[Some(b"png")], 1);
        put(group, &[Some(b"png")], 1);
        put(group, &[Some(b"edit_instruction: add a dog")], 1);
    });
    let (rows, _) = all(&shipped("vismin"), &vismin).unwrap();
    assert_eq!(
        (rows[0].instruction.as_str(), rows[0].op.as_deref()),
        ("add a dog", Some("counting-00001"))
    );
}

#[test]
fn wrong_types_and_wrong_columns_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.parquet");
    write(
        &file,
        "message schema { optional int32 image; optional binary instruction (UTF8); optional int32 task; optional int32 idx; }",
        |group| {
            for at in 0..4 {
                if at == 1 {
                    put(group, &[Some(b"do it")], 1);
                    continue;
                }
                let mut column = group.next_column().unwrap().unwrap();
                column.typed::<Int32Type>().write_batch(&[3], Some(&[1]), None).unwrap();
                column.close().unwrap();
            }
        },
    );
    let (rows, bad) = all(&shipped("emuedit"), &file).unwrap();
    assert!(rows.is_empty());
    assert_eq!(said(&bad), ["`x.parquet`, row 1: `image` is a number, not the bytes of a picture"]);
    let error = all(&shipped("aurora"), &file).unwrap_err().to_string();
    assert_eq!(
        error,
        "`x.parquet` has no column `input`, `source`, which the map `AURORA-Bench` asks for; it has `image`, `instruction`, `task`, `idx`"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_damaged_file_never_panics(at in 0usize..4_000, byte: u8, cut in 0usize..4_000) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.parquet");
        emu_edit(&file);
        let mut bytes = std::fs::read(&file).unwrap();
        let len = bytes.len();
        bytes[at % len] = byte;
        bytes.truncate(len - cut % 5);
        std::fs::write(&file, &bytes).unwrap();
        // Whatever is read, it ends in rows, bad rows or an error.
        if let Ok((rows, bad)) = all(&shipped("emuedit"), &file) {
            prop_assert!(rows.len() + bad.len() <= 1_000);
        }
    }
}
