// @ts-check
/** The native program, from the build's folder; it stands there after the native tests. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const trainer = join(process.env["CARGO_TARGET_DIR"] ?? join(root, "target"), "release/trainer");
/** Why tests that need it are skipped, if they are. */
export const skip = existsSync(trainer) ? false : "the native program is not built: `cargo build --release -p trainer`";
