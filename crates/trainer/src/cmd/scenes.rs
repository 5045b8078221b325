//! `trainer scenes`: examples of the scene world as files anyone can read.

mod page;

use super::eval::SplitName;
use super::output_folder;
use crate::picture;
use crate::progress::Progress;
use crate::run_dir::write_file;
use anyhow::{Context, Result};
use earl_scenes::{Example, Op, example, render};
use std::path::{Path, PathBuf};

/// Flags of `scenes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many examples.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Their seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Which ones.
    #[arg(long, value_enum, default_value_t)]
    split: SplitName,
    /// Only this kind of edit: add, remove, replace, recolor, background, relation, move, resize, count,
    /// swap or multi.
    #[arg(long, value_parser = parse_op)]
    op: Option<Op>,
    /// Folder for source/, target/, mask/ (white: what a right edit may change), examples.jsonl (a bench file), edits.jsonl (a batch for `edit`),
    /// contact.png and index.html.
    #[arg(long, required_unless_present = "page_assets")]
    out: Option<PathBuf>,
    /// Only write the page's drawings and names (sprites.png, world.json) into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    page_assets: Option<PathBuf>,
    /// Write into a folder that holds files already.
    #[arg(long)]
    force: bool,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

fn parse_op(name: &str) -> Result<Op, String> {
    let names = Op::ALL.map(Op::name).join(", ");
    Op::ALL.into_iter().find(|op| op.name() == name).ok_or(format!("it must be one of {names}"))
}

/// Examples on a contact sheet.
const ON_SHEET: usize = 60;

/// Writes the examples.
///
/// # Errors
/// If the folder can't be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(folder) = &args.page_assets {
        return page::write(folder);
    }
    let out = args.out.as_deref().context("no folder; pass `--out`")?;
    output_folder(out, args.force)?;
    for folder in ["source", "target", "mask"] {
        output_folder(&out.join(folder), true)?;
    }
    let mut progress = Progress::new("scenes", 0, args.count);
    let (mut benches, mut edits, mut shown) = (String::new(), String::new(), Vec::new());
    for index in 0..args.count {
        let made = example(args.seed, index, args.split.split(), args.op);
        let name = format!("{index:06}.png");
        picture::write(&out.join("source").join(&name), &render(&made.scene, made.style))?;
        picture::write(&out.join("target").join(&name), &render(&made.target, made.style))?;
        let mut mask = Vec::new();
        made.mask().write_to(&mut std::io::Cursor::new(&mut mask), image::ImageFormat::Png)?;
        write_file(&out.join("mask").join(&name), &mask)?;
        let line = serde_json::json!({
            "image": format!("source/{name}"), "instruction": made.instruction, "seed": 0,
        });
        benches += &(serde_json::to_string(&made)? + "\n");
        edits += &format!("{line}\n");
        if shown.len() < ON_SHEET {
            shown.push(made);
        }
        progress.step(index + 1, "");
    }
    write_file(&out.join("examples.jsonl"), benches.as_bytes())?;
    write_file(&out.join("edits.jsonl"), edits.as_bytes())?;
    contact_sheet(out, &shown)?;
    let summary = serde_json::json!({
        "count": args.count, "seed": args.seed, "split": args.split.split().name(), "out": out,
    });
    if args.json {
        return super::print_json(&summary);
    }
    super::print_lines(&format!("{} examples in {}", args.count, out.display()));
    Ok(())
}

/// Pictures side by side (source, true edit), and a page with the sentences below them.
fn contact_sheet(folder: &Path, shown: &[Example]) -> Result<()> {
    let pair = |made: &Example| [render(&made.scene, made.style), render(&made.target, made.style)];
    let rows: Vec<Vec<image::RgbImage>> =
        shown.chunks(5).map(|chunk| chunk.iter().flat_map(pair).collect()).collect();
    picture::write(&folder.join("contact.png"), &picture::sheet(&rows, 2))?;
    let mut page = String::from(concat!(
        "<!doctype html><meta charset=utf-8><title>Scenes</title><style>body{font:15px/1.4 system-ui;margin:2rem;",
        "display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr))}figure{margin:0}",
        "img{width:9rem;image-rendering:pixelated;margin-right:.4rem}</style>\n"
    ));
    for (index, made) in shown.iter().enumerate() {
        page += &format!(
            "<figure><img src=source/{index:06}.png alt=source><img src=target/{index:06}.png alt=\"true edit\"><figcaption>{}: {}</figcaption></figure>\n",
            made.op.name(),
            made.instruction
        );
    }
    write_file(&folder.join("index.html"), page.as_bytes())
}
