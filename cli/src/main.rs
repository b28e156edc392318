// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The `klp` command, `cargo klp` in this workspace.

fn main() -> std::process::ExitCode {
    klp_cli::main()
}
