//! The browser modules: `crates/web` for the CPU and for WebGPU, each without and with published models,
//! bound and optimised, in `web/wasm`.
//!
//! sources → compile → bind → optimise → `$EARL_CACHE/modules` → `web/wasm`. A stamp of all sources
//! skips everything; a stamp of the compiled module skips binding and optimising, which for WebGPU
//! takes minutes. All share one target folder: two modules of a backend differ in `crates/web` alone, so
//! what it builds on is compiled once. Start at [`build`].

use crate::command::{output, program, run};
use crate::folders::{cache, copy, root};
use crate::setup::WASM_BINDGEN;
use crate::stamp::Stamp;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::fs;
use std::path::{Path, PathBuf};

/// One of the four: a backend, and whether it loads published models (tier `full`) too. The page fetches
/// one of the last two only for such a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Module {
    /// flex with simd128.
    Cpu,
    /// WebGPU through wgpu.
    Gpu,
    /// The CPU module with published models.
    CpuFull,
    /// The WebGPU module with published models.
    GpuFull,
}

const RUSTFLAGS: [&str; 2] = ["-C", "target-feature=+simd128"];
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
/// Where the sources of a module are. All members share `Cargo.lock`; a change there that does not
/// reach the modules costs one `cargo build` that has nothing to do.
const SOURCES: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "crates/kernels/Cargo.toml",
    "crates/kernels/src",
    "crates/model/Cargo.toml",
    "crates/model/src",
    "crates/web/Cargo.toml",
    "crates/web/src",
];
/// Builds of each module that are kept, the newest.
const KEPT: usize = 4;

impl Module {
    /// Of `crates/web`.
    fn features(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::CpuFull => "cpu,full",
            Self::GpuFull => "gpu,full",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "earl_cpu",
            Self::Gpu => "earl_gpu",
            Self::CpuFull => "earl_cpu_full",
            Self::GpuFull => "earl_gpu_full",
        }
    }

    /// Compiler settings: speed for the CPU; size and bearable build time for the GPU modules, whose
    /// code is `CubeCL`'s kernel generators, not arithmetic.
    fn profile(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cpu | Self::CpuFull => &[],
            Self::Gpu | Self::GpuFull => &[
                ("CARGO_PROFILE_WEB_OPT_LEVEL", "s"),
                ("CARGO_PROFILE_WEB_CODEGEN_UNITS", "16"),
                ("CARGO_PROFILE_WEB_LTO", "off"),
            ],
        }
    }

    /// `-Oz` takes minutes; `GpuFull` is fetched beside weights of many times its size and does without.
    fn optimise(self) -> &'static str {
        match self {
            Self::Cpu | Self::CpuFull => "-O3",
            Self::Gpu => "-Oz",
            Self::GpuFull => "-O1",
        }
    }

    /// Everything beside the sources that decides the result.
    fn recipe(self) -> Result<Stamp> {
        let mut stamp = Stamp::default();
        let (features, profile, optimise) = (self.features(), self.profile(), self.optimise());
        let settings = format!("{features} {profile:?} {RUSTFLAGS:?} {optimise} {FEATURES:?}");
        stamp.add("settings", settings.as_bytes());
        stamp.add("wasm-bindgen", WASM_BINDGEN.as_bytes());
        stamp.add("rustc", output("rustc", &["--version"]).unwrap_or_default().as_bytes());
        stamp.add_files(&root(), "tests/web/package.json")?; // binaryen's version
        Ok(stamp)
    }

    fn stamp(self) -> Result<String> {
        let mut stamp = self.recipe()?;
        SOURCES.iter().try_for_each(|source| stamp.add_files(&root(), source))?;
        Ok(stamp.finish())
    }
}

/// Builds what is not fresh: all modules, or only one.
pub(crate) fn build(only: Option<Module>) -> Result<()> {
    for module in Module::value_variants() {
        if only.is_none_or(|only| only == *module) {
            bring(*module).with_context(|| format!("building the module {}", module.name()))?;
        }
    }
    Ok(())
}

/// Builds all modules, or only one, once more in an empty target folder: they must come out the same.
pub(crate) fn build_again(only: Option<Module>) -> Result<()> {
    build(only)?;
    let target = cache()?.join("wasm-again");
    let remove = || match fs::remove_dir_all(&target) {
        Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => Err(problem),
        _ => Ok(()),
    };
    remove().with_context(|| format!("emptying `{}`", target.display()))?;
    for module in Module::value_variants() {
        if only.is_none_or(|only| only == *module) {
            same_again(*module, &target)?;
        }
    }
    remove().with_context(|| format!("removing `{}`", target.display()))
}

fn same_again(module: Module, target: &Path) -> Result<()> {
    let (name, made) = (module.name(), target.join("modules"));
    finish(module, &compile(module, target)?, &made)?;
    for file in ["_bg.wasm", ".js", ".d.ts"].map(|end| format!("{name}{end}")) {
        let [first, again] = [root().join("web/wasm"), made.clone()].map(|folder| {
            let mut stamp = Stamp::default();
            stamp.add_files(&folder, &file).map(|()| stamp.finish())
        });
        let (first, again) = (first?, again?);
        if first != again {
            bail!("`{file}` came out otherwise in a second build: {first}, then {again}");
        }
        eprintln!("{file}: the same again ({})", &first[..16]);
    }
    Ok(())
}

/// Are all modules there, and made from these sources?
pub(crate) fn state() -> Result<State> {
    let out = root().join("web/wasm");
    let mut state = State::Fresh;
    for module in Module::value_variants() {
        match found(&out, *module) {
            None => return Ok(State::Missing),
            Some(stamp) if stamp != module.stamp()? => state = State::Stale,
            Some(_) => {}
        }
    }
    Ok(state)
}

/// How the modules in `web/wasm` stand to their sources.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Made from them.
    Fresh,
    /// Made from older ones.
    Stale,
    /// At least one is not there.
    Missing,
}

/// The stamp of the module in `folder`, if all its parts are there.
fn found(folder: &Path, module: Module) -> Option<String> {
    let name = module.name();
    let whole = ["_bg.wasm", ".js", ".d.ts"].iter();
    let whole = whole.map(|part| folder.join(format!("{name}{part}"))).all(|file| file.is_file());
    fs::read_to_string(folder.join(format!("{name}.stamp"))).ok().filter(|_| whole)
}

/// Puts a fresh module into `web/wasm`.
fn bring(module: Module) -> Result<()> {
    let (name, stamp, out) = (module.name(), module.stamp()?, root().join("web/wasm"));
    if found(&out, module).as_deref() == Some(stamp.as_str()) {
        return Ok(());
    }
    let store = cache()?.join("modules");
    let kept = store.join(format!("{name}-{}", &stamp[..16]));
    if found(&kept, module).as_deref() != Some(stamp.as_str()) {
        make(module, &stamp, &store, &kept)?;
        forget_old(&store, &format!("{name}-"))?;
        forget_old(&store, "work-")?; // what ended runs left
    }
    let stamp_file = out.join(format!("{name}.stamp"));
    if stamp_file.exists() {
        fs::remove_file(&stamp_file).context("removing an old stamp")?;
    }
    copy(&kept, &out, &[".stamp", ".binary"])?;
    fs::write(&stamp_file, stamp).with_context(|| format!("writing `{}`", stamp_file.display()))
}

/// Compiles, and binds and optimises unless that was done to the same compiled module before.
fn make(module: Module, stamp: &str, store: &Path, kept: &Path) -> Result<()> {
    let (name, built) = (module.name(), compile(module, &cache()?.join("wasm"))?);
    let mut binary = module.recipe()?;
    binary.add(
        "module",
        &fs::read(&built).with_context(|| format!("reading `{}`", built.display()))?,
    );
    let binary = binary.finish();
    let work = store.join(format!("work-{}-{name}", std::process::id()));
    match with_binary(store, name, &binary) {
        Some(same) => copy(&same, &work, &[])?,
        None => finish(module, &built, &work)?,
    }
    let note = |end: &str, text: &str| fs::write(work.join(format!("{name}.{end}")), text);
    note("binary", &binary).and_then(|()| note("stamp", stamp)).context("writing stamps")?;
    if kept.exists() {
        fs::remove_dir_all(kept).with_context(|| format!("removing `{}`", kept.display()))?;
    }
    fs::rename(&work, kept).with_context(|| format!("moving to `{}`", kept.display()))
}

/// `cargo build` in a target folder; the compiled module's file.
fn compile(module: Module, target: &Path) -> Result<PathBuf> {
    let args =
        ["build", "--profile", "web", "--target", "wasm32-unknown-unknown", "-p", "earl-web"];
    let mut command = program("cargo", &args)?;
    command.args(["--lib", "--no-default-features", "--features", module.features()]);
    command.env("CARGO_TARGET_DIR", target).env("CARGO_ENCODED_RUSTFLAGS", rustflags(target)?);
    command.envs(module.profile().iter().copied());
    run(command, "the compiler's message above says where")?;
    Ok(target.join("wasm32-unknown-unknown/web/earl_web.wasm"))
}

/// The compiler's flags, as cargo takes them. No folder of this machine gets into messages of panics, so that
/// builds elsewhere are the same bytes.
fn rustflags(target: &Path) -> Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut folders = vec![(root(), "/earl"), (target.to_owned(), "/target")];
    // One for each registry; building this program has filled them.
    let registries = home.map(|home| fs::read_dir(home.join("registry/src"))).transpose();
    for registry in registries.ok().flatten().into_iter().flatten() {
        folders.push((registry.context("listing cargo's registries")?.path(), "/registry"));
    }
    let remap = |(folder, name): &(PathBuf, &str)| {
        format!("--remap-path-prefix={}={name}", folder.display())
    };
    let flags = RUSTFLAGS.map(str::to_owned).into_iter().chain(folders.iter().map(remap));
    Ok(flags.collect::<Vec<_>>().join("\x1f"))
}

/// A kept build of the same compiled module.
fn with_binary(store: &Path, name: &str, binary: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(store).ok()?.flatten().map(|entry| entry.path());
    folders.into_iter().find(|folder| {
        let is_ours = folder.file_name().is_some_and(|own| own.to_string_lossy().starts_with(name));
        let note = fs::read_to_string(folder.join(format!("{name}.binary")));
        is_ours && note.is_ok_and(|note| note == binary)
    })
}

/// Binds and optimises the compiled module into a folder.
fn finish(module: Module, built: &Path, folder: &Path) -> Result<()> {
    let (name, place) = (module.name(), folder.to_string_lossy());
    fs::create_dir_all(folder).with_context(|| format!("making `{place}`"))?;
    let args =
        ["--target", "web", "--out-name", name, "--out-dir", &place, &built.to_string_lossy()];
    run(program("wasm-bindgen", &args)?, "its version must be that of the crate in `Cargo.toml`")?;
    let bound = folder.join(format!("{name}_bg.wasm"));
    let small = folder.join(format!("{name}.small.wasm"));
    let mut command = program("wasm-opt", &[module.optimise()])?;
    command.args(FEATURES).arg(&bound).arg("-o").arg(&small);
    run(
        command,
        "wasm-opt comes with the Node package `binaryen`: remove `tests/web/node_modules`",
    )?;
    fs::rename(&small, &bound).with_context(|| format!("replacing `{}`", bound.display()))
}

/// Removes all but the newest builds of one module.
fn forget_old(store: &Path, prefix: &str) -> Result<()> {
    let mut builds = Vec::new();
    for entry in fs::read_dir(store).with_context(|| format!("listing `{}`", store.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            builds.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    builds.sort();
    for (_, folder) in builds.iter().rev().skip(KEPT) {
        fs::remove_dir_all(folder).with_context(|| format!("removing `{}`", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_modules_differ_in_name_and_stamp() {
        let all = Module::value_variants();
        let names: BTreeSet<_> = all.iter().map(|module| module.name()).collect();
        let stamps: BTreeSet<_> = all.iter().map(|module| module.stamp().unwrap()).collect();
        assert_eq!((all.len(), names.len(), stamps.len()), (4, 4, 4));
    }

    #[test]
    fn a_stamp_without_its_module_is_not_fresh() {
        let folder = std::env::temp_dir().join(format!("earl-modules-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("earl_cpu.stamp"), "ab").unwrap();
        assert_eq!(found(&folder, Module::Cpu), None);
        for part in ["_bg.wasm", ".js", ".d.ts"] {
            fs::write(folder.join(format!("earl_cpu{part}")), "").unwrap();
        }
        assert_eq!(found(&folder, Module::Cpu).as_deref(), Some("ab"));
        assert_eq!(found(&folder, Module::Gpu), None);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_the_newest_builds_are_kept() {
        let store = std::env::temp_dir().join(format!("earl-store-{}", std::process::id()));
        for at in 0..6 {
            fs::create_dir_all(store.join(format!("earl_cpu-{at}"))).unwrap();
        }
        fs::create_dir_all(store.join("earl_gpu-0")).unwrap();
        fs::write(store.join("earl_gpu-0/earl_gpu.binary"), "cd").unwrap();
        forget_old(&store, "earl_cpu-").unwrap();
        assert_eq!(fs::read_dir(&store).unwrap().count(), KEPT + 1);
        fs::create_dir_all(store.join("earl_gpu_full-0")).unwrap();
        fs::write(store.join("earl_gpu_full-0/earl_gpu_full.binary"), "ef").unwrap();
        assert_eq!(with_binary(&store, "earl_gpu", "cd"), Some(store.join("earl_gpu-0")));
        assert_eq!(with_binary(&store, "earl_gpu", "ef"), None);
        fs::remove_dir_all(&store).unwrap();
    }
}
