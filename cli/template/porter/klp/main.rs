// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The `klp` command with __name__, `cargo klp` in this repository.

fn main() -> std::process::ExitCode {
    klp_cli::main_with(&klp___name__::ENTRY)
}
