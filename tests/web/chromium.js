// @ts-check
/** The browser of tests and drawings: `$CHROMIUM`, else where Debian puts it. */
import { chromium } from "playwright-core";

export const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

/** @param {string[]} [flags] */
export const launch = (flags = []) => chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...flags] });
