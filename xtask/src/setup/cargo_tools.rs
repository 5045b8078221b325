//! Pinned tools that cargo builds from their crates into `$EARL_CACHE/tools`.

use crate::command::{output, program, run};
use crate::folders::{cache, tools};
use crate::version;
use anyhow::Result;

/// Must equal the version of the `wasm-bindgen` crate in `Cargo.toml`.
pub(crate) const WASM_BINDGEN: &str = "0.2.130";
const TRUNK: &str = "0.21.14";

/// Time to build is worth more here than a tool's speed.
const PROFILE: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

struct Tool {
    program: &'static str,
    package: &'static str,
    version: &'static str,
    args: &'static [&'static str],
}

/// `--locked` is missing for the first: its lock file asks for a crate that not every registry copy has.
const TOOLS: [Tool; 2] = [
    Tool {
        program: "wasm-bindgen",
        package: "wasm-bindgen-cli",
        version: WASM_BINDGEN,
        args: &["--bin", "wasm-bindgen"],
    },
    Tool { program: "trunk", package: "trunk", version: TRUNK, args: &["--locked"] },
];

/// Installs the tools that are missing or of another version.
pub(crate) fn install() -> Result<()> {
    for tool in TOOLS {
        let found = output(tool.program, &["--version"]).unwrap_or_default();
        if !version::is(&found, tool.version) {
            build(&tool)?;
        }
    }
    Ok(())
}

fn build(tool: &Tool) -> Result<()> {
    let folder = tools()?;
    let folder = folder.to_string_lossy();
    let args = ["install", tool.package, "--version", tool.version, "--no-default-features"];
    let mut command = program("cargo", &args)?;
    command.args(["--force", "--root", &folder]).args(tool.args);
    command.env("CARGO_TARGET_DIR", cache()?.join("tools-target"));
    // Where no lock file decides, dependencies must suit the compiler at hand.
    command.env("CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS", "fallback");
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.envs(PROFILE);
    run(command, "cargo builds this tool from its crate: check the network and the message above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::root;

    #[test]
    fn wasm_bindgen_is_the_version_of_the_crate() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("wasm-bindgen = \"={WASM_BINDGEN}\"")));
    }

    #[test]
    fn trunk_accepts_the_wasm_bindgen_we_install() {
        let config = std::fs::read_to_string(root().join("Trunk.toml")).unwrap();
        assert!(config.contains(&format!("wasm_bindgen = \"{WASM_BINDGEN}\"")));
    }
}
