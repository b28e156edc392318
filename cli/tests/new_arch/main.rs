// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp new-arch`, from outside: what it writes compiles at once, and its conformance lists what is not stated, in order.

mod port;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use klp_core::stated::Fact;

fn sdk() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("the workspace")
}

/// A directory for this test. What is compiled in it is kept between runs.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-arch").join(name);
    fs::create_dir_all(&dir).expect("directory");
    dir
}

fn new_arch(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klp"));
    command.arg("new-arch").args(args).stdin(Stdio::null()).output().expect("klp starts")
}

/// Runs cargo in `dir`. Nothing is downloaded. The target directory is not this workspace's own: to cargo, a package of a copy is
/// the one that it was copied from.
fn cargo(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    // Before what is for the program that cargo runs.
    command.args(&args[..1]).args(["--offline", "--target-dir"]).arg(scratch("target")).args(&args[1..]);
    // Compiling takes the time here.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.current_dir(dir).stdin(Stdio::null()).output().expect("cargo starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeed(output: &Output) {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// The tests of the suite by what became of them, in the order in which they ran.
fn results(output: &Output, what: &str) -> Vec<String> {
    let stdout = text(&output.stdout);
    let lines = stdout.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    lines.filter(|(_, result)| *result == what).map(|(name, _)| name.trim_end().to_owned()).collect()
}

/// Copies what git knows of the workspace, but what is not compiled. Files that are the same are left alone, for cargo's sake.
fn copy_of_workspace(to: &Path) {
    let sdk = sdk();
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&sdk);
    let listed = git.output().expect("git starts");
    succeed(&listed);
    let listed = text(&listed.stdout);
    let wanted =
        |path: &&str| !["fuzz/", "docs/", "conformance/fixtures/"].iter().any(|dir| path.starts_with(dir));
    let paths: Vec<&str> = listed.split_terminator('\0').filter(wanted).collect();
    for path in &paths {
        let (from, to) = (sdk.join(path), to.join(path));
        // Listed, and removed since.
        let Ok(new) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == new) {
            continue;
        }
        fs::create_dir_all(to.parent().expect("a parent")).expect("directory");
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for path in tree(to).keys().filter(|path| !paths.contains(&path.as_str())) {
        fs::remove_file(to.join(path)).expect("removed");
    }
    // What is left of an earlier run, without its files.
    let _ = fs::remove_dir_all(to.join("arch-demo64"));
}

/// Every file below a directory.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                dirs.push(entry);
            } else {
                let name = entry.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned();
                files.insert(name, fs::read(&entry).expect("a file"));
            }
        }
    }
    files
}

/// The suite compiles without a warning, fails, and lists every fact in order with all that is said of it; nothing else
/// fails or passes.
fn lists_what_is_unstated(output: &Output) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(!stderr.contains("warning"), "{stderr}");
    assert_eq!(output.status.code(), Some(101), "{stdout}{stderr}");
    let facts: Vec<String> =
        Fact::ALL.iter().map(|fact| format!("{} {}", fact.statement().id, fact.statement().case)).collect();
    assert_eq!(results(output, "FAILED"), facts);
    let mut rest = stdout.as_str();
    for said in Fact::ALL.iter().map(|fact| fact.statement()) {
        for words in [said.id, said.what, said.place, said.source, said.needed_by, said.stage.name()] {
            let at =
                rest.find(words).unwrap_or_else(|| panic!("{} does not say in its place: {words}", said.id));
            rest = &rest[at..];
        }
    }
    assert_eq!(results(output, "ok"), ["unwind::tests::a_stack_that_cannot_be_read_is_unreliable"]);
    assert!(results(output, "ignored").len() > 80, "{stdout}");
}

#[test]
fn a_new_architecture_compiles_and_lists_what_is_unstated() {
    let dir = scratch("here");
    copy_of_workspace(&dir);
    let workspace = dir.to_str().expect("UTF-8");
    let output = new_arch(&["demo64", "--workspace", workspace]);
    succeed(&output);
    let crates = |name: &str| {
        let files = tree(&dir.join(name)).into_keys();
        files.filter(|file| !file.ends_with("tests.rs")).collect::<Vec<_>>()
    };
    let named = ["arm64", "ppc64", "s390"].map(|name| crates(&format!("arch-{name}")));
    for file in crates("arch-demo64") {
        assert!(named.iter().all(|files| files.contains(&file)), "no other crate has {file}");
    }
    assert_eq!(crates("arch-demo64"), crates("arch-s390"), "the same files as every architecture's");
    for name in ["arch-demo64", "arches"] {
        for (file, bytes) in tree(&dir.join(name)) {
            let text = text(&bytes);
            assert!(!text.contains("__name__") && !text.contains("__Type__"), "{file} has places left");
        }
    }

    let formatted = Command::new(env!("CARGO")).args(["fmt", "--all", "--check"]).current_dir(&dir).output();
    succeed(&formatted.expect("cargo starts"));
    succeed(&cargo(&dir, &["build", "--package", "klp-kmod"]));
    lists_what_is_unstated(&cargo(&dir, &["test", "--package", "klp-arch-demo64", "--no-fail-fast"]));
    klp_ko_is_not_built_on_it(&dir);

    let before = tree(&dir);
    let again = new_arch(&["demo64", "--workspace", workspace]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("arch-demo64 is there already"), "{}", text(&again.stderr));
    assert!(tree(&dir) == before, "a refused command changed something");
}

/// klp.ko, for an architecture that states nothing.
fn klp_ko_is_not_built_on_it(workspace: &Path) {
    let path = workspace.join("arches/src/lib.rs");
    let source = fs::read_to_string(&path).expect("source");
    let picks = source.lines().map(|line| match line.ends_with(" as Native;") {
        true => "        pub use klp_arch_demo64::Demo64 as Native;",
        false => line,
    });
    fs::write(&path, picks.collect::<Vec<_>>().join("\n")).expect("written");
    let output = cargo(workspace, &["build", "--package", "klp-kmod"]);
    fs::write(&path, source).expect("written");
    let stderr = text(&output.stderr);
    assert!(!output.status.success() && stderr.contains("--suite host --case H0"), "{stderr}");
    assert_eq!(stderr.matches("error[").count(), 1, "another error: {stderr}");
}

#[test]
fn a_porters_own_repository_lists_the_same_and_what_was_struck_too_early() {
    let dir = scratch("porter");
    fs::remove_dir_all(&dir).expect("removed");
    let out = dir.to_str().expect("UTF-8");
    succeed(&new_arch(&["demo64", "--out", out]));
    let formatted = Command::new(env!("CARGO")).args(["fmt", "--all", "--check"]).current_dir(&dir).output();
    succeed(&formatted.expect("cargo starts"));
    lists_what_is_unstated(&cargo(&dir, &["test", "--no-fail-fast"]));
    its_klp_knows_it(&dir);
    klp_ko_is_compiled_for_it(&dir);

    // The list is empty, and nothing is stated.
    let path = dir.join("src/lib.rs");
    let source = fs::read_to_string(&path).expect("source");
    let struck: Vec<&str> = source.lines().filter(|line| !line.starts_with("        Fact::")).collect();
    fs::write(&path, struck.join("\n")).expect("written");
    let output = cargo(&dir, &["test", "--no-fail-fast", "--package", "klp-demo64", "--test", "conformance"]);
    assert_eq!(output.status.code(), Some(101), "{}", text(&output.stderr));
    let (failed, passed) = (results(&output, "FAILED"), results(&output, "ok"));
    for fact in [
        Fact::Names,
        Fact::ElfMachine,
        Fact::Kernels,
        Fact::SiteSamples,
        Fact::Branch,
        Fact::Stacks,
        Fact::Room,
    ] {
        let said = fact.statement();
        assert!(failed.contains(&format!("{} {}", said.id, said.case)), "{failed:#?}");
    }
    assert!(text(&output.stdout).contains("struck from UNSTATED, and not stated (ELF_MACHINE is 0)"));
    // A case that finds nothing to complain of, since there is nothing, is one that waits for a fact which fails.
    let blank =
        |fact: &&&Fact| failed.contains(&format!("{} {}", fact.statement().id, fact.statement().case));
    let blank: Vec<&Fact> = Fact::ALL.iter().filter(|fact| blank(&fact)).collect();
    for case in passed.iter().filter(|case| !case.starts_with("H0.")) {
        let id = case.split(' ').next().expect("a number");
        assert!(blank.iter().any(|fact| fact.statement().is_needed_by(id)), "{case} passes on nothing");
    }
}

/// The command of a porter's repository has the architecture beside the SDK's, and keeps what it came to there.
fn its_klp_knows_it(dir: &Path) {
    let klp = |args: &[&str]| cargo_run(dir, args);
    let listed = klp(&["kernel", "list"]);
    succeed(&listed);
    assert!(text(&listed.stdout).contains("s390"), "{}", text(&listed.stdout));
    let none = klp(&["kernel", "list", "--arch", "demo64"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("no kernel of demo64 is known"), "{}", text(&none.stderr));
    let unknown = klp(&["kernel", "list", "--arch", "sparc"]);
    assert!(text(&unknown.stderr).contains("expected one of demo64, x86_64, "), "{}", text(&unknown.stderr));

    let output = klp(&["conform", "--arch", "demo64", "--stage", "recognise", "--suite", "host", "--record"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("failed: demo64 host H0.1 "), "{stdout}");
    assert!(stdout.contains("stage recognise: not yet"), "{stdout}");
    let results = fs::read_to_string(dir.join("results.txt")).expect("recorded in the repository");
    assert!(results.contains("[demo64 host]\nfailed H0.1: "), "{results}");
    let readme = fs::read_to_string(dir.join("README.md")).expect("the matrix is there");
    assert!(readme.contains("### demo64\n") && !readme.contains("x86_64"), "{readme}");
    succeed(&klp(&["matrix", "--check"]));
    let other = klp(&["conform", "--arch", "s390", "--suite", "host", "--record"]);
    assert_eq!(other.status.code(), Some(2), "{}", text(&other.stderr));
    assert!(
        text(&other.stderr).contains("results of s390 are recorded in the SDK's"),
        "{}",
        text(&other.stderr)
    );
    let new = klp(&["new-arch", "demo65"]);
    assert_eq!(new.status.code(), Some(2));
    assert!(text(&new.stderr).contains("expected --out DIR"), "{}", text(&new.stderr));
}

fn cargo_run(dir: &Path, args: &[&str]) -> Output {
    cargo(dir, &[&["run", "--quiet", "--package", "klp-demo64", "--bin", "klp", "--"], args].concat())
}

/// The manifest of a porter's repository compiles the SDK's kernel half for the porter's architecture: it is refused as long as facts
/// are missing, and only for that.
fn klp_ko_is_compiled_for_it(dir: &Path) {
    let check = || cargo(dir, &["check", "--package", "klp-kmod"]);
    let refused = text(&check().stderr);
    assert!(refused.contains("--suite host --case H0"), "{refused}");
    assert_eq!(refused.matches("error[").count(), 1, "another error: {refused}");
    let path = dir.join("src/lib.rs");
    let source = fs::read_to_string(&path).expect("source");
    let struck: Vec<&str> = source.lines().filter(|line| !line.starts_with("        Fact::")).collect();
    fs::write(&path, struck.join("\n")).expect("written");
    let output = check();
    fs::write(&path, source).expect("written");
    succeed(&output);
}

#[test]
fn what_is_refused_changes_nothing() {
    let dir = scratch("refused");
    let files = [
        "Cargo.lock",
        "rustfmt.toml",
        "arches/Cargo.toml",
        "arches/src/lib.rs",
        "host/src/arch.rs",
        "conformance/src/host/arch.rs",
    ];
    for file in files {
        let to = dir.join(file);
        fs::create_dir_all(to.parent().expect("a parent")).expect("directory");
        fs::copy(sdk().join(file), to).expect("copied");
    }
    let workspace = dir.to_str().expect("UTF-8");
    let refused = |args: &[&str], status: i32, words: &str| {
        let before = tree(&dir);
        let output = new_arch(&[args, &["--workspace", workspace]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
        assert!(tree(&dir) == before, "{args:?} changed something");
    };
    for (name, words) in [
        ("Demo", "expected lower-case letters"),
        ("6502", "a letter first"),
        ("demo-64", "expected lower-case letters"),
        ("loop", "a word of Rust's"),
        ("s390", "the SDK has it already"),
    ] {
        refused(&[name], 2, words);
    }
    refused(&["demo64", "--out", workspace], 2, "is there already");
    // Each file in turn is not as expected.
    for file in &files[2..] {
        let path = dir.join(file);
        let old = fs::read_to_string(&path).expect("a file");
        fs::write(&path, "something else\n").expect("written");
        refused(&["demo64"], 1, &format!("{file} is not as expected, nothing was changed"));
        fs::write(&path, old).expect("written");
    }
    fs::create_dir_all(dir.join("arch-demo64/src")).expect("directory");
    refused(&["demo64"], 2, "arch-demo64 is there already");
    fs::remove_dir_all(dir.join("arch-demo64")).expect("removed");
    succeed(&new_arch(&["demo64", "--workspace", workspace]));
    refused(&["demo64"], 2, "is there already");
    fs::remove_dir_all(dir.join("arch-demo64")).expect("removed");
    refused(&["demo64"], 1, "it has 'klp-arch-demo64");
    fs::remove_dir_all(&dir).expect("removed");
}
