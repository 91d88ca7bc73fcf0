#!/usr/bin/env node
// Runs the program from the package for this platform, which npm has installed as an optional dependency.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const platform = `${process.platform}-${process.arch}`;
const file = process.platform === "win32" ? "copera-upload.exe" : "copera-upload";

let program;
try {
  program = require.resolve(`@copera-ai/upload-${platform}/${file}`);
} catch {
  console.error(`error: copera-upload has no program for ${platform}, or npm did not install it`);
  console.error("hint: install without --omit=optional and --no-optional; other ways to install:");
  console.error("      https://github.com/copera-ai/copera-upload/blob/main/docs/install.md");
  process.exit(1);
}

// Newer versions of Node.js can replace this process: then signals and the exit code need no forwarding.
if (process.platform !== "win32" && typeof process.execve === "function") {
  process.execve(program, [program, ...process.argv.slice(2)], process.env);
}

const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
child.on("error", (error) => {
  console.error(`error: cannot start ${program}: ${error.message}`);
  process.exit(1);
});
// A terminal sends Ctrl-C to the program as well, and a second one would end it at once.
const fromTerminal = process.stdin.isTTY || process.stderr.isTTY;
for (const signal of ["SIGINT", "SIGHUP", "SIGTERM"]) {
  process.on(signal, () => {
    if (signal === "SIGTERM" || !fromTerminal) child.kill(signal);
  });
}
child.on("exit", (code, signal) => {
  process.exit(signal ? 128 + constants.signals[signal] : code);
});
