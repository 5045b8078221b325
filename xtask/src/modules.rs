//! The two browser modules: `crates/web` for the CPU and for WebGPU, bound and optimised, in `web/wasm`.
//!
//! A stamp beside each (SHA-256 of every source that matters) says whether it is still fresh.

use crate::command::{cache, program, root, run};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// flex with simd128.
    Cpu,
    /// WebGPU through wgpu.
    Gpu,
}

impl FromStr for Module {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu),
            _ => Err("it must be `cpu` or `gpu`".into()),
        }
    }
}

/// WebAssembly features that every browser with WebGPU or SIMD has.
const FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];
/// Where the sources of a module are.
const SOURCES: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", "crates/kernels", "crates/model", "crates/web", "xtask/src/modules.rs"];

impl Module {
    fn feature(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }

    /// Compiler settings: speed for the CPU; size and bearable build time for the GPU module, whose
    /// code is `CubeCL`'s kernel generators, not arithmetic.
    fn profile(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cpu => &[],
            Self::Gpu => &[("OPT_LEVEL", "s"), ("CODEGEN_UNITS", "16"), ("LTO", "off")],
        }
    }

    fn optimise(self) -> &'static str {
        match self {
            Self::Cpu => "-O3",
            Self::Gpu => "-Oz",
        }
    }
}

/// Builds what is not fresh: both modules, or only one.
pub(crate) fn build(only: Option<Module>) -> Result<()> {
    let stamp = stamp(&root())?;
    for module in [Module::Cpu, Module::Gpu] {
        if only.is_none_or(|only| only == module) {
            build_one(module, &stamp)?;
        }
    }
    Ok(())
}

fn build_one(module: Module, stamp: &str) -> Result<()> {
    let feature = module.feature();
    let (out, name) = (root().join("web/wasm"), format!("earl_{feature}"));
    let stamp_file = out.join(format!("{name}.stamp"));
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    let target = cache()?.join("wasm");
    let args = ["build", "--profile", "web", "--target", "wasm32-unknown-unknown", "-p", "earl-web"];
    let mut command = program("cargo", &args)?;
    command.args(["--lib", "--no-default-features", "--features", feature]);
    command.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", "-C target-feature=+simd128");
    for (key, value) in module.profile() {
        command.env(format!("CARGO_PROFILE_WEB_{key}"), value);
    }
    run(command, "the compiler's message above says where")?;
    let built = target.join("wasm32-unknown-unknown/web/earl_web.wasm");
    let (built, folder) = (built.to_string_lossy(), out.to_string_lossy());
    let args = ["--target", "web", "--out-name", &name, "--out-dir", &folder, &built];
    run(program("wasm-bindgen", &args)?, "its version must be that of the crate")?;
    let bound = out.join(format!("{name}_bg.wasm"));
    let fresh = out.join(format!("{name}.fresh.wasm"));
    let mut command = program("wasm-opt", &[module.optimise()])?;
    command.args(FEATURES).arg(&bound).arg("-o").arg(&fresh);
    run(command, "wasm-opt comes with the Node package `binaryen`")?;
    fs::rename(&fresh, &bound).with_context(|| format!("replacing `{}`", bound.display()))?;
    fs::write(&stamp_file, stamp).with_context(|| format!("writing `{}`", stamp_file.display()))
}

/// SHA-256 over paths and contents of all sources, in order.
fn stamp(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("reading `{}`", file.display()))?;
        hash.update(file.strip_prefix(root).unwrap_or(&file).to_string_lossy().as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("listing `{}`", path.display()))? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}
