// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp new-arch`: a new architecture's crate, from the template in `cli/template`.
//!
//! In this workspace it also enters the architecture into each table that names architectures, once
//! (docs/src/architecture.md, "Where an architecture is named"). Elsewhere it is a workspace of its own, with a `klp` of its own that
//! knows the architecture.

mod edit;
mod files;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use klp_core::stated::{Fact, Stage};
use klp_host::{Arch, Failure, arch};

use files::Files;

/// Write the crate of a new architecture, of which nothing is stated yet
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo klp new-arch demo64 && cargo test -p klp-arch-demo64
  cargo klp new-arch demo64 --out ../klp-arch-demo64     a repository of its own, which depends on this one")]
pub(crate) struct Args {
    /// Its name, as `--arch` takes it: lower-case letters, digits and `_`
    name: String,
    /// Write a workspace of its own there, and nothing into this one
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// This SDK's workspace, if not the one that this command was compiled in
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
///
/// The name cannot be used or is taken, a file is not as expected or cannot be written. Then all is as it was.
pub(crate) fn run(args: Args) -> Result<()> {
    if args.out.is_none() && args.workspace.is_none() && arch::repository() != arch::sdk() {
        let message = "this command is of a port's own repository, and enters nothing into the SDK's: expected --out DIR";
        return Err(Failure::Usage(message.to_owned()).into());
    }
    let sdk = args.workspace.unwrap_or_else(|| arch::sdk().to_owned());
    let sdk = fs::canonicalize(&sdk).with_context(|| format!("there is no workspace {}", sdk.display()))?;
    let template = Template::new(&args.name)?;
    let mut files = match &args.out {
        Some(out) => porter(&template, &sdk, out)?,
        None => here(&template, &sdk)?,
    };
    files.write()?;
    for path in files.paths() {
        println!("{}", path.display());
    }
    let test = match &args.out {
        Some(out) => format!("cd {} && cargo test", out.display()),
        None => format!("cargo test -p klp-arch-{}", args.name),
    };
    eprintln!(
        "{} is there, and nothing of it is stated. What to state first, and where it is found: {test}\n\
         The way through: docs/src/porting.md",
        args.name
    );
    Ok(())
}

/// What is put into the template's places.
struct Template<'a> {
    name: &'a str,
    type_name: String,
}

/// What no module may be called (The Rust Reference, "Keywords").
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "union", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

impl Template<'_> {
    fn new(name: &str) -> Result<Template<'_>, Failure> {
        let refuse =
            |why: &str| Err(Failure::Usage(format!("'{name}' cannot be an architecture's name: {why}")));
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) {
            return refuse("expected lower-case letters, digits and '_', a letter first");
        }
        if name.ends_with('_') || name.contains("__") {
            return refuse("expected something behind each '_'");
        }
        if KEYWORDS.contains(&name) {
            return refuse("it is a word of Rust's");
        }
        if Arch::by_name(name).is_some() {
            return refuse("the SDK has it already");
        }
        Ok(Template { name, type_name: type_name(name) })
    }

    /// The text with its places filled in, those of this template and `more`.
    fn fill(&self, text: &str, more: &[(&str, &str)]) -> String {
        let mut text = text.to_owned();
        let own = [("__name__", self.name), ("__Type__", &self.type_name)];
        for (place, filling) in more.iter().chain(&own) {
            text = text.replace(place, filling);
        }
        text
    }

    /// The files that every architecture's crate has, in `dir`.
    fn crate_files(&self, dir: &Path, more: &[(&str, &str)], files: &mut Files) {
        let facts = facts();
        let more = [more, &[("__facts__\n", &facts)]].concat();
        for (path, text) in [
            ("src/lib.rs", include_str!("../../template/crate/src/lib.rs")),
            ("src/ftrace.rs", include_str!("../../template/crate/src/ftrace.rs")),
            ("src/branch.rs", include_str!("../../template/crate/src/branch.rs")),
            ("src/reloc.rs", include_str!("../../template/crate/src/reloc.rs")),
            ("src/unwind.rs", include_str!("../../template/crate/src/unwind.rs")),
            ("src/unwind/tests.rs", include_str!("../../template/crate/src/unwind/tests.rs")),
        ] {
            files.create(dir.join(path), self.fill(text, &more));
        }
    }
}

/// The name of the type: `riscv64` gives `Riscv64`, `x86_64` gives `X86_64`.
fn type_name(name: &str) -> String {
    let mut text = String::new();
    for part in name.split('_') {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        // What would be another number without.
        if digit(text.chars().next_back()) && digit(part.chars().next()) {
            text.push('_');
        }
        let mut chars = part.chars();
        text.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(chars.as_str());
    }
    text
}

/// The list of what is not stated: everything, by stage.
fn facts() -> String {
    let mut text = String::new();
    for stage in Stage::ALL {
        writeln!(text, "        // {stage}").expect("a string");
        for fact in Fact::ALL.iter().filter(|fact| fact.statement().stage == stage) {
            writeln!(text, "        Fact::{fact:?},").expect("a string");
        }
    }
    text
}

const DESCRIPTION: &str = include_str!("../../template/description.rs");
/// What it uses of `klp-conformance`.
const DESCRIPTION_USES: [&str; 3] = [
    "host::description::{Description, Files, Manuals, Slot}",
    "host::oracle::Unstated",
    "host::stack::Stacks",
];
const ENTRY: &str = include_str!("../../template/arch.rs");

/// Lines that use these; an empty one for an empty one.
fn use_lines(items: &[String]) -> String {
    let line = |item: &String| if item.is_empty() { String::new() } else { format!("use {item};") };
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A crate of this workspace, and an entry in each of its tables.
fn here(template: &Template<'_>, sdk: &Path) -> Result<Files> {
    let Template { name, type_name } = template;
    let mut files = Files::default();
    let dir = sdk.join(format!("arch-{name}"));
    files.create_dir(&dir)?;
    files.create(dir.join("Cargo.toml"), template.fill(include_str!("../../template/here/Cargo.toml"), &[]));
    let test = format!("cargo test -p klp-arch-{name}");
    template.crate_files(&dir, &[("__test__", &test), ("__native__\n", "")], &mut files);
    files.create(
        dir.join("tests/conformance.rs"),
        template.fill(include_str!("../../template/here/conformance.rs"), &[]),
    );

    files.change(sdk.join("arches/Cargo.toml"), |text| {
        edit::behind_last(text, "klp-arch-", &format!("klp-arch-{name} = {{ path = \"../arch-{name}\" }}\n"))
    })?;
    files.change(sdk.join("arches/src/lib.rs"), |text| {
        let text = edit::in_order(text, "pub use klp_arch_", &format!("pub use klp_arch_{name}::{type_name};\n"))?;
        let pick = format!(
            "    }} else if #[cfg(false)] {{\n        // Fact::Shim: the condition is target_arch, as rustc has it for {name}.\n        \
             pub use klp_arch_{name}::{type_name} as Native;\n"
        );
        edit::at_end_of(&text, "    // The one place that picks the architecture", "\n    }\n}\n", &pick)
    })?;
    files.change(sdk.join("host/src/arch.rs"), |text| {
        let entry = template.fill(
            ENTRY,
            &[("patchable::UNSTATED", "crate::patchable::UNSTATED"), ("__repository__", "None")],
        );
        let text = edit::in_braces(text, "use klp_arches::", type_name)?;
        edit::at_end_of(&text, "static ARCHES: &[Arch] = &[\n", "\n];\n", &entry)
    })?;
    files.change(sdk.join("conformance/src/host/arch.rs"), |text| {
        let text = edit::in_order(text, "pub mod ", &format!("pub mod {name};\n"))?;
        let text = edit::in_braces(&text, "use klp_arches::", type_name)?;
        let entry = format!("    Entry::new::<{type_name}>(&{name}::DESCRIPTION),\n");
        edit::at_end_of(&text, "static ARCHITECTURES: &[Entry] = &[\n", "\n];\n", &entry)
    })?;
    let host = format!("Arch::by_name(\"{name}\")");
    let uses = ["klp_core::branch::Reach", "klp_host::Arch", ""].map(str::to_owned);
    let uses: Vec<String> =
        uses.into_iter().chain(DESCRIPTION_USES.map(|item| format!("crate::{item}"))).collect();
    let uses = use_lines(&uses);
    let places = [("__uses__", uses.as_str()), ("__host__", &host), ("__files__", "Files::HERE")];
    let description = sdk.join(format!("conformance/src/host/arch/{name}.rs"));
    files.create(description, template.fill(DESCRIPTION, &places));
    Ok(files)
}

/// What is in a workspace of its own beside the crate and its description.
const PORTER: [(&str, &str); 16] = [
    ("Cargo.toml", include_str!("../../template/porter/Cargo.toml")),
    ("README.md", include_str!("../../template/porter/README.md")),
    ("relocations.md", include_str!("../../template/porter/relocations.md")),
    (".cargo/config.toml", include_str!("../../template/porter/config.toml")),
    ("klp/Cargo.toml", include_str!("../../template/porter/klp/Cargo.toml")),
    ("klp/src/lib.rs", include_str!("../../template/porter/klp/lib.rs")),
    ("klp/src/main.rs", include_str!("../../template/porter/klp/main.rs")),
    ("klp/src/arch.rs", include_str!("../../template/porter/klp/arch.rs")),
    ("klp/tests/conformance.rs", include_str!("../../template/porter/klp/conformance.rs")),
    ("kmod/Cargo.toml", include_str!("../../template/porter/kmod/Cargo.toml")),
    ("kmod/build.mk", include_str!("../../template/porter/kmod/build.mk")),
    ("kmod/shim.h", include_str!("../../template/porter/kmod/shim.h")),
    ("guest/facts.sh", include_str!("../../template/porter/guest/facts.sh")),
    ("guest/test.h", include_str!("../../template/porter/guest/test.h")),
    ("guest/test.mk", include_str!("../../template/porter/guest/test.mk")),
    ("guest/syscalls.h", include_str!("../../template/porter/guest/syscalls.h")),
];

/// A workspace of its own, in `out`.
fn porter(template: &Template<'_>, sdk: &Path, out: &Path) -> Result<Files> {
    let mut files = Files::default();
    files.create_dir(out)?;
    let path = sdk.to_str().with_context(|| format!("{} is not UTF-8", sdk.display()))?;
    // Its format, and the versions that it is tested with.
    for name in ["rustfmt.toml", "Cargo.lock"] {
        let path = sdk.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.create(out.join(name), text);
    }
    files.create(out.join(".gitignore"), "/target\n".to_owned());
    let native =
        "\n/// What `klp.ko` is compiled for (`kmod/Cargo.toml`).\npub use self::__Type__ as Native;\n";
    template.crate_files(out, &[("__test__", "cargo test"), ("__native__\n", native)], &mut files);
    let entry = edit::outdented(ENTRY);
    let root = "Some(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/..\"))";
    let places = [("__sdk__", path), ("__entry__;\n", &entry), ("__repository__", root)];
    for (name, text) in PORTER {
        files.create(out.join(name), template.fill(text, &places));
    }
    let uses = DESCRIPTION_USES.map(|item| format!("klp_conformance::{item}"));
    let uses: Vec<String> = uses.into_iter().chain(["klp_core::branch::Reach".to_owned()]).collect();
    let uses = use_lines(&uses);
    let places = [
        ("__uses__", uses.as_str()),
        ("__host__", "Some(&crate::arch::ARCH)"),
        (
            "__files__",
            "Files {\n        package: \"klp-NAME\",\n        golden: concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../snapshots\"),\n        \
             stacks: concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../stacks\"),\n        \
             relocations: concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../relocations.md\"),\n    }",
        ),
    ];
    files.create(out.join("klp/src/description.rs"), template.fill(DESCRIPTION, &places));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_rust_names_them() {
        for (name, expected) in [("riscv64", "Riscv64"), ("x86_64", "X86_64"), ("sparc_v9", "SparcV9")] {
            assert_eq!(type_name(name), expected);
        }
    }

    #[test]
    fn names_that_cannot_be_used_are_refused_with_the_reason() {
        for (name, why) in [
            ("Demo64", "lower-case"),
            ("64demo", "a letter first"),
            ("demo-64", "lower-case"),
            ("", "a letter first"),
            ("../demo", "lower-case"),
            ("demo_", "behind each '_'"),
            ("a__b", "behind each '_'"),
            ("match", "a word of Rust's"),
            ("arm64", "has it already"),
        ] {
            let error = Template::new(name).err().unwrap_or_else(|| panic!("{name} was accepted"));
            assert!(error.to_string().contains(why), "{name}: {error}");
        }
        assert!(Template::new("demo64").is_ok());
    }
}
