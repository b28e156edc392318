// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp lint`, from outside, on a stock kernel of each architecture: what is right is said to be, and what is not is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use klp_host::kernel::Known;
use klp_host::{Arch, kbuild};
use klp_patch::abi::KlpRelocations;
use object::{Object, ObjectSection};
use serde_json::Value;

/// The newest kernel of an architecture, if it has any: an older one's lists differ in nothing that is looked at here.
fn kernel(arch: &Arch) -> Option<&'static str> {
    Known::of(arch).next_back().map(|known| known.id)
}

/// The architectures that have a kernel.
fn arches() -> impl Iterator<Item = &'static Arch> {
    klp_host::arches().iter().copied().filter(|arch| kernel(arch).is_some())
}

fn klp(arch: &Arch, command: &str, args: &[&Path]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_klp"))
        .args([command, "--arch", arch.name, "--kernel", kernel(arch).expect("a kernel")])
        .args(args)
        .stdin(Stdio::null())
        .output();
    output.expect("klp starts")
}

/// Where modules are built, each under a name that no other test uses: klp.ko is built once for all of an architecture's.
fn out(arch: &Arch) -> PathBuf {
    kbuild::target_dir().join("tests/lint").join(arch.name)
}

/// Builds a patch of one source file, with the Kbuild file that is in its directory, if any.
fn build(arch: &Arch, dir: &Path, name: &str, source: &str) -> PathBuf {
    let patch = dir.join(name);
    fs::create_dir_all(&patch).expect("directory");
    fs::write(patch.join(format!("{name}.c")), source).expect("source");
    build_dir(arch, dir, name)
}

/// Builds the module whose files are in the directory of this name.
fn build_dir(arch: &Arch, dir: &Path, name: &str) -> PathBuf {
    let out = out(arch);
    let built = klp(arch, "build", &[&dir.join(name), Path::new("--out"), &out]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    out.join(format!("{name}.ko"))
}

/// What lint says of a module, and its exit status.
fn lint(arch: &Arch, args: &[&Path]) -> (i32, Value) {
    let output = klp(arch, "lint", &[args, &[Path::new("--json")]].concat());
    let status = output.status.code().expect("a status");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (status, report)
}

/// The findings, as `severity check object symbol`, in order.
fn findings(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings").iter().map(|finding| {
        let text = |key: &str| finding[key].as_str().expect("text").to_owned();
        assert!(!text("message").is_empty() && !text("help").is_empty(), "{finding}");
        [text("severity"), text("check"), text("object"), text("symbol")].join(" ")
    });
    let mut findings: Vec<String> = findings.collect();
    findings.sort();
    findings
}

/// A patch whose functions are `entries`; `more` is before them.
fn patch(more: &str, object: &str, entries: &str) -> String {
    format!(
        "#include <linux/livepatch.h>\n\
         static int noinline new_function(void) {{ return 0; }}\n\
         {more}\n\
         static struct klp_func funcs[] = {{ {entries} {{ }} }};\n\
         static struct klp_object objs[] = {{ {{ .name = {object}, .funcs = funcs }}, {{ }} }};\n\
         static struct klp_patch patch = {{ .mod = THIS_MODULE, .objs = objs }};\n\
         static int __init patch_init(void) {{ return klp_enable_patch(&patch); }}\n\
         static void __exit patch_exit(void) {{ }}\n\
         module_init(patch_init); module_exit(patch_exit);\n\
         MODULE_LICENSE(\"GPL\"); MODULE_INFO(livepatch, \"Y\");\n"
    )
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

#[test]
fn a_patch_that_loads_has_no_findings() {
    for arch in arches() {
        let out = out(arch);
        let examples = ["livepatch-cmdline", "livepatch-cmdline-rust"];
        let dirs = examples.map(example);
        let built = klp(arch, "build", &[&dirs[0], &dirs[1], Path::new("--out"), &out]);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        for example in examples {
            let (status, report) = lint(arch, &[&out.join(format!("{example}.ko"))]);
            assert_eq!((status, findings(&report)), (0, vec![]), "{example} on {}: {report:#}", arch.name);
            assert_eq!(report["functions"], 1);
            assert_eq!(report["loads"], true);
        }
    }
}

#[test]
fn each_thing_that_would_be_refused_is_named() {
    for arch in arches() {
        let dir = tempfile::tempdir().expect("directory");
        let source = patch(
            "",
            "NULL",
            "{ .old_name = \"no_such_function\", .new_func = new_function },\
             { .old_name = \"cmdline_proc_show\", .new_func = new_function },\
             { .old_name = \"cmdline_proc_show\", .old_sympos = 1, .new_func = new_function },\
             { .old_name = \"version_proc_show\", .old_sympos = 7, .new_func = new_function },\
             { .old_name = \"seq_printf\" },\
             { .old_name = \"__schedule\", .new_func = new_function },\
             { .old_name = \"start_kernel\", .new_func = new_function },",
        );
        let (status, report) = lint(arch, &[&build(arch, dir.path(), "wrong", &source)]);
        assert_eq!(status, 1, "{report:#}");
        let found = findings(&report);
        let errors: Vec<&str> =
            found.iter().map(String::as_str).filter(|line| line.starts_with("error")).collect();
        let expected = [
            "error duplicate-function vmlinux cmdline_proc_show",
            "error no-replacement vmlinux seq_printf",
            "error not-traceable vmlinux __schedule",
            "error not-traceable vmlinux start_kernel",
            "error symbol-missing vmlinux no_such_function",
            "error symbol-position vmlinux version_proc_show",
        ];
        assert_eq!(errors, expected, "{}: {report:#}", arch.name);
    }
}

#[test]
fn what_a_patch_refers_to_and_cannot_is_named() {
    for (name, beyond, refused) in [
        // A branch or address with fewer bits than there are between a module and the kernel, or none that a slot can serve.
        ("x86_64", "movl $kallsyms_lookup_name, %eax", "out-of-reach"),
        ("arm64", "adr x0, kallsyms_lookup_name", "out-of-reach"),
        ("ppc64", "b kallsyms_lookup_name", "relocation"),
        ("s390", "j kallsyms_lookup_name", "out-of-reach"),
    ] {
        let arch = Arch::by_name(name).expect("arch");
        let dir = tempfile::tempdir().expect("directory");
        let more = format!(
            "extern unsigned long kallsyms_lookup_name(const char *name);\n\
             extern int no_such_function(void); extern int t_start(void); extern int third(void); extern int other(void);\n\
             KLP_RELOC_SYMBOL_AS(third, vmlinux, version_proc_show, 3);\n\
             KLP_RELOC_SYMBOL(virtio_net, other, 0);\n\
             static int noinline calls(void)\n\
             {{ return no_such_function() + t_start() + third() + other() + (int)kallsyms_lookup_name(\"\"); }}\n\
             static void noinline beyond(void) {{ asm volatile(\"{beyond}\"); }}\n\
             void *also[] = {{ new_function, beyond }};"
        );
        let entries = "{ .old_name = \"cmdline_proc_show\", .new_func = calls },";
        let module = build(arch, dir.path(), "refers", &patch(&more, "NULL", entries));
        let (status, report) = lint(arch, &[&module]);
        assert_eq!(status, 1, "{report:#}");
        let found = findings(&report);
        let errors: Vec<&str> =
            found.iter().map(String::as_str).filter(|line| line.starts_with("error")).collect();
        let expected = [
            "error object-not-declared virtio_net other",
            &format!("error {refused} vmlinux kallsyms_lookup_name"),
            "error symbol-ambiguous vmlinux t_start",
            "error symbol-missing virtio_net other",
            "error symbol-missing vmlinux no_such_function",
            "error symbol-position vmlinux version_proc_show",
        ];
        let mut expected = expected.map(str::to_owned);
        expected.sort();
        assert_eq!(errors, expected, "{name}: {report:#}");
        // What would have gone through a slot has none if there is none.
        let short = without_slots(&module);
        let (_, report) = lint(arch, &[&short]);
        assert!(findings(&report).contains(&"error slots-short  ".to_owned()), "{name}: {report:#}");
    }
}

/// A copy of a module that says that it has no slots.
fn without_slots(module: &Path) -> PathBuf {
    let mut bytes = fs::read(module).expect("module");
    let file = object::File::parse(bytes.as_slice()).expect("module");
    let section = file.section_by_name(".klp.relocations").expect("relocations");
    let (start, _) = section.file_range().expect("in the file");
    let at = usize::try_from(start).expect("offset") + core::mem::offset_of!(KlpRelocations, slot_count);
    bytes[at..at + 8].fill(0);
    let short = module.with_file_name("short.ko");
    fs::write(&short, bytes).expect("module");
    short
}

#[test]
fn a_module_that_is_not_the_kernels_own_is_looked_at_if_it_is_named() {
    let arch = Arch::by_name("x86_64").expect("arch");
    let dir = tempfile::tempdir().expect("directory");
    let target = "#include <linux/module.h>\n\
        int noinline traced(void); int noinline traced(void) { return 1; }\n\
        int noinline notrace untraced(void); int noinline notrace untraced(void) { return 1; }\n\
        MODULE_LICENSE(\"GPL\");\n";
    let target = build(arch, dir.path(), "target", target);
    let entries = "{ .old_name = \"traced\", .new_func = new_function },\
                   { .old_name = \"untraced\", .new_func = new_function },";
    let patch = build(arch, dir.path(), "changes", &patch("", "\"target\"", entries));
    let (status, report) = lint(arch, &[&patch]);
    assert_eq!((status, findings(&report)), (0, vec!["note object-unknown target ".to_owned()]));
    let (status, report) = lint(arch, &[&patch, Path::new("--object"), &target]);
    assert_eq!((status, findings(&report)), (1, vec!["error not-traceable target untraced".to_owned()]));
}

#[test]
fn a_function_without_room_for_a_slot_is_named() {
    for arch in arches() {
        let Ok(room) = &arch.room else { continue };
        let dir = tempfile::tempdir().expect("directory");
        let source = dir.path().join("target_roomy");
        fs::create_dir_all(&source).expect("directory");
        let (first, second) = room.enough;
        let kbuild = format!(
            "obj-m := target_roomy.o\ntarget_roomy-y := code.o\nklp-patchable := {first},{second}\ninclude $(KLP_KMOD)/patch.mk\n"
        );
        fs::write(source.join("Kbuild"), kbuild).expect("Kbuild");
        let code = "#include <linux/module.h>\n\
            int noinline roomy(void); int noinline roomy(void) { return 1; }\n\
            #ifdef __s390x__\n\
            #define BARE hotpatch(0, 0)\n\
            #else\n\
            #define BARE patchable_function_entry(0, 0)\n\
            #endif\n\
            int noinline __attribute__((BARE)) bare(void);\n\
            int noinline __attribute__((BARE)) bare(void) { return 1; }\n\
            MODULE_LICENSE(\"GPL\");\n";
        fs::write(source.join("code.c"), code).expect("source");
        let target = build_dir(arch, dir.path(), "target_roomy");
        let entries = "{ .old_name = \"roomy\", .new_func = new_function },\
                       { .old_name = \"bare\", .new_func = new_function },";
        let patch = build(arch, dir.path(), "changes_roomy", &patch("", "\"target_roomy\"", entries));
        let (status, report) = lint(arch, &[&patch, Path::new("--object"), &target]);
        let expected = (1, vec!["error no-room target_roomy bare".to_owned()]);
        assert_eq!((status, findings(&report)), expected, "{}: {report:#}", arch.name);
    }
}

#[test]
fn code_that_is_not_hardened_as_the_kernel_is_named() {
    for (name, options, check) in [
        ("x86_64", "-mindirect-branch=keep -mfunction-return=keep", &["retpoline", "return-thunk"][..]),
        ("s390", "-mno-backchain", &["back-chain"]),
        ("arm64", "-fomit-frame-pointer", &["frame-record"]),
    ] {
        let arch = Arch::by_name(name).expect("arch");
        let dir = tempfile::tempdir().expect("directory");
        let patch_dir = dir.path().join("soft");
        fs::create_dir_all(&patch_dir).expect("directory");
        let kbuild = format!("obj-m := soft.o\nccflags-y += {options}\ninclude $(KLP_KMOD)/patch.mk\n");
        fs::write(patch_dir.join("Kbuild"), kbuild).expect("Kbuild");
        let more = "static int (*volatile way)(const char *, ...) = NULL;\n\
            static int noinline calls(void) { return way(\"\") + way(\"x\"); }";
        let entries = "{ .old_name = \"cmdline_proc_show\", .new_func = calls },";
        let module = build(
            arch,
            dir.path(),
            "soft",
            &patch(&format!("{more}\nvoid *also = new_function;"), "NULL", entries),
        );
        let (_, report) = lint(arch, &[&module]);
        let found = findings(&report);
        for check in check {
            assert!(found.contains(&format!("warning {check}  ")), "{name} {options}: {report:#}");
        }
    }
}

#[test]
fn what_is_no_module_for_this_kernel_is_refused() {
    let (x86_64, s390) = (Arch::by_name("x86_64").expect("arch"), Arch::by_name("s390").expect("arch"));
    let dir = tempfile::tempdir().expect("directory");
    let entries = "{ .old_name = \"cmdline_proc_show\", .new_func = new_function },";
    let module = build(s390, dir.path(), "foreign", &patch("", "NULL", entries));
    let (status, report) = lint(x86_64, &[&module]);
    assert_eq!((status, findings(&report)), (1, vec!["error architecture  ".to_owned()]));

    let junk = dir.path().join("junk.ko");
    fs::write(&junk, "junk").expect("write");
    let output = klp(x86_64, "lint", &[&junk]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a patch module"));
}
