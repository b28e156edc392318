// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A port in a repository of its own: an architecture of this workspace, taken out of it, patches its kernel from there, as far as the
//! stage `redirect`. No file of the SDK knows the name.

use std::fs;
use std::path::Path;

use super::{cargo, new_arch, scratch, sdk, succeed, text};

/// The architecture that is taken out, and what it is called there.
const FROM: [&str; 2] = ["riscv64", "Riscv64"];
const TO: [&str; 2] = ["rv64", "Rv64"];

/// What is in front of the entry that the SDK's table has.
const ARCH: &str = "\
//! What host tools know of it.

use klp_arch_rv64::Rv64;
use klp_core::stated::Stage;
use klp_host::Facts;
use klp_host::arch::{Arch, Image, Qemu, Threads};
use klp_host::kernel::debian::{DEBIAN_6_12, TRIXIE};
use klp_host::patchable::Room;

/// The entry.
pub static ARCH: Arch = Arch {
    name: \"rv64\",
";

/// A file of the SDK, as it is called there.
fn renamed(path: &str) -> String {
    let path = sdk().join(path);
    let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    source.replace(FROM[1], TO[1])
}

/// Changes a file of the new repository.
fn change(path: &Path, change: impl Fn(&str) -> String) {
    let source = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::write(path, change(&source)).expect("written");
}

/// Every file below a directory of the SDK.
fn copy(from: &str, to: &Path, filled: fn(String) -> String) {
    for entry in fs::read_dir(sdk().join(from)).expect("a directory of the SDK") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let (path, to) = (format!("{from}/{name}"), to.join(&name));
        if sdk().join(&path).is_dir() {
            fs::create_dir_all(&to).expect("directory");
            copy(&path, &to, filled);
        } else {
            fs::write(to, filled(renamed(&path))).expect("written");
        }
    }
}

/// What is between two pieces of a text.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("there is no {start}"));
    rest.split_once(end).unwrap_or_else(|| panic!("there is no {end} behind {start}")).0
}

/// States in `dir`, the output of the template, what the architecture states in this workspace, each in the place that the guide
/// names.
fn state_all(dir: &Path) {
    copy("arch-riscv64/src", &dir.join("src"), |text| text);
    change(&dir.join("src/lib.rs"), |text| {
        format!("{}\npub use self::{} as Native;\n", text.replace("\"riscv64\"", "\"rv64\""), TO[1])
    });
    fs::create_dir_all(dir.join("snapshots/rv64")).expect("directory");
    copy("conformance/snapshots/riscv64", &dir.join("snapshots/rv64"), |text| text);
    copy("kmod/arch/riscv", &dir.join("kmod"), |text| text);
    copy("conformance/guest/arch/riscv", &dir.join("guest"), |text| text);

    // The names and QEMU, of the table's entry: all but what says where the port is.
    let entry = renamed("host/src/arch.rs");
    let entry = between(&entry, "        name: \"riscv64\",\n", "\n    },\n];");
    let root = "repository: Some(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/..\"))";
    let entry = entry.replace("repository: None", root);
    let entry = entry.replace("Some(mmu::RISCV64)", "None").replace("Some(hardening::RISCV64)", "None");
    fs::write(dir.join("klp/src/arch.rs"), format!("{ARCH}{entry}\n}};\n")).expect("written");

    // The description, which is told where its files are.
    let there = |text: String| {
        text.replace("crate::", "klp_conformance::").replace("super::super::", "klp_conformance::host::")
    };
    fs::create_dir_all(dir.join("klp/src/description")).expect("directory");
    copy("conformance/src/host/arch/riscv64", &dir.join("klp/src/description"), there);
    let path = dir.join("klp/src/description.rs");
    let files = fs::read_to_string(&path).expect("the template's description");
    let files = format!("files: Files {{{}}}", between(&files, "files: Files {", "}"));
    let program = format!("{}/conformance/src/host/programs/slot_riscv64.S", sdk().display());
    let description = there(renamed("conformance/src/host/arch/riscv64.rs"))
        .replace("files: Files::HERE", &files)
        .replace("../programs/slot_riscv64.S", &program)
        .replace("|| Arch::by_name(\"riscv64\")", "|| Some(&crate::arch::ARCH)")
        .replace("use klp_host::Arch;\n", "")
        .replace("name: \"riscv64\"", "name: \"rv64\"");
    fs::write(path, description).expect("written");
}

#[test]
fn a_port_in_a_repository_of_its_own_patches_a_kernel() {
    let dir = scratch("port");
    fs::remove_dir_all(&dir).expect("removed");
    succeed(&new_arch(&[TO[0], "--out", dir.to_str().expect("UTF-8")]));
    state_all(&dir);
    let klp = |args: &[&str]| {
        cargo(&dir, &[&["run", "--quiet", "--package", "klp-rv64", "--bin", "klp", "--"], args].concat())
    };
    // Modules of tests are compiled with what the repository says, and a kernel is patched.
    let results = dir.join("results.xml");
    let junit = results.to_str().expect("UTF-8");
    let conform = klp(&["conform", "--arch", TO[0], "--stage", "redirect", "--junit", junit]);
    let (stdout, stderr) = (text(&conform.stdout), text(&conform.stderr));
    assert!(conform.status.success() && stdout.contains("stage redirect: done"), "{stdout}{stderr}");
    let results = fs::read_to_string(results).expect("the results");
    assert!(results.contains("G11.3 took "), "no guest patched anything: {results}");
    // Without one of its files, there is nothing of the SDK's in the place.
    fs::remove_file(dir.join("guest/test.h")).expect("removed");
    let refused = klp(&["conform", "--arch", TO[0], "--suite", "guest", "--case", "G1.1"]);
    let stderr = text(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("guest/test.h"), "{stderr}");
}
