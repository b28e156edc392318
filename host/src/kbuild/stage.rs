// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The directories that kbuild works in: links to the sources, and a Kbuild file.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{Failure, Kernel};

/// A directory with the sources of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    /// The module's name: the directory's.
    pub(super) name: String,
    /// The directory, absolute.
    pub(super) dir: PathBuf,
    sources: Sources,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sources {
    /// The directory says itself how it is built, in this file.
    Own { file: String, text: String },
    /// The names of its C and assembly files, without their extension; and whether it has a `lib.rs`.
    Plain { objects: Vec<String>, rust: bool },
}

/// What the crate root of a patch in Rust is called.
const CRATE_ROOT: &str = "lib.rs";

impl Patch {
    /// Reads what is in `dir`.
    ///
    /// # Errors
    ///
    /// It is no directory with sources, or its name is none for a module: [`Failure::Usage`].
    pub(super) fn read(dir: &Path) -> Result<Patch, Failure> {
        let usage = |what: String| Failure::Usage(format!("{}: {what}", dir.display()));
        let path = fs::canonicalize(dir)
            .map_err(|error| usage(format!("{error}; expected a directory of sources")))?;
        let entries = fs::read_dir(&path)
            .map_err(|error| usage(format!("{error}; expected a directory with *.c or {CRATE_ROOT}")))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        {
            return Err(usage(format!(
                "the module is named after the directory, and '{name}' is no name for a module: expected letters, \
                 digits, '-' and '_'"
            )));
        }
        let mut files: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| is_source(name))
            .collect();
        files.sort();
        // kbuild's own order of preference.
        for file in ["Kbuild", "Makefile"] {
            if files.iter().any(|name| name == file) {
                let text =
                    fs::read_to_string(path.join(file)).map_err(|error| usage(format!("{file}: {error}")))?;
                if text.contains("obj-m") {
                    return Ok(Patch {
                        name,
                        dir: path,
                        sources: Sources::Own { file: file.to_owned(), text },
                    });
                }
            }
        }
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let patch = Patch::of(&name, &files);
        if patch.sources == (Sources::Plain { objects: Vec::new(), rust: false }) {
            return Err(usage(format!(
                "there are no sources: expected *.c or {CRATE_ROOT}, or a Kbuild file with obj-m"
            )));
        }
        Ok(Patch { dir: path, ..patch })
    }

    /// A patch of these files.
    pub(super) fn of(name: &str, files: &[&str]) -> Patch {
        let mut objects: Vec<String> = files
            .iter()
            .filter_map(|file| file.strip_suffix(".c").or_else(|| file.strip_suffix(".S")))
            .map(str::to_owned)
            .collect();
        objects.sort();
        let rust = files.contains(&CRATE_ROOT);
        Patch { name: name.to_owned(), dir: PathBuf::from(name), sources: Sources::Plain { objects, rust } }
    }

    /// What the kernel calls the module.
    pub(super) fn kernel_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Whether building it runs cargo.
    pub(super) fn is_rust(&self) -> bool {
        match &self.sources {
            Sources::Own { text, .. } => text.contains("-rust"),
            Sources::Plain { rust, .. } => *rust,
        }
    }

    /// Where its sources are staged, below the module's build directory.
    fn source_dir(&self) -> &'static str {
        match self.sources {
            Sources::Own { .. } => "",
            Sources::Plain { .. } => "src",
        }
    }

    /// The Kbuild file that builds it.
    fn kbuild(&self, kmod: &Path, patchable: Option<(u16, u16)>) -> String {
        let (name, kmod) = (&self.name, kmod.display());
        let mut text = format!("KLP_KMOD := {kmod}\n");
        if let Some((first, second)) = patchable {
            text += &format!("klp-patchable := {first},{second}\n");
        }
        let mut finish = true;
        match &self.sources {
            Sources::Own { file, text: own } => {
                text += &format!("include $(src)/{}\n", staged_name(file));
                // It may know of the SDK.
                finish = !own.contains("patch.mk");
            }
            Sources::Plain { objects, rust } => {
                text += &format!("obj-m := {name}.o\n");
                if !objects.is_empty() {
                    let objects: Vec<String> =
                        objects.iter().map(|object| format!("src/{object}.o")).collect();
                    text += &format!("{name}-y := {}\n", objects.join(" "));
                }
                if *rust {
                    text += &format!("{name}-rust := src/{CRATE_ROOT}\n");
                }
            }
        }
        if finish {
            text += "include $(KLP_KMOD)/patch.mk\n";
        }
        text
    }
}

/// A `Kbuild` of the directory's own makes way for ours, which includes it.
fn staged_name(file: &str) -> &str {
    if file == "Kbuild" { "Kbuild.own" } else { file }
}

/// A directory that kbuild works in.
#[derive(Debug)]
pub(super) struct Stage {
    dir: PathBuf,
    /// Where links to sources are, and what they lead to; below each other, the innermost first.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Stage {
    /// Empties the directory of all stages, `work`, if it was used for another kernel: objects do not tell.
    pub(super) fn for_kernel(work: &Path, kernel: &Kernel) -> Result<()> {
        let stamp = work.join("kernel");
        let text = format!("{}\n{}\n{}\n", kernel.arch, kernel.release, kernel.build_dir.display());
        if fs::read_to_string(&stamp).is_ok_and(|found| found == text) {
            return Ok(());
        }
        fs::remove_dir_all(work).with_context(|| format!("cannot remove {}", work.display()))?;
        create(work)?;
        write(&stamp, &text)
    }

    /// Stages klp.ko's sources; those of the architecture from `arch_dir`, if they are not among them.
    pub(super) fn kmod(work: &Path, kmod: &Path, srcarch: &str, arch_dir: Option<&Path>) -> Result<Stage> {
        let dir = work.join("klp");
        mirror(kmod, &dir, &|name| name)?;
        let mut links = vec![(dir.clone(), kmod.to_owned())];
        if let Some(arch_dir) = arch_dir {
            let staged = dir.join("arch").join(srcarch);
            mirror(arch_dir, &staged, &|name| name)?;
            links.insert(0, (staged, arch_dir.to_owned()));
        }
        Ok(Stage { links, dir })
    }

    /// Stages the sources of `patch`.
    pub(super) fn patch(
        work: &Path,
        patch: &Patch,
        kmod: &Path,
        patchable: Option<(u16, u16)>,
    ) -> Result<Stage> {
        let dir = work.join(&patch.name);
        create(&dir)?;
        let rename: &dyn Fn(&str) -> &str = match patch.sources {
            Sources::Own { .. } => &staged_name,
            Sources::Plain { .. } => &|name| name,
        };
        // Without the slash that joining nothing would leave at its end.
        let links: PathBuf = dir.join(patch.source_dir()).components().collect();
        mirror(&patch.dir, &links, rename)?;
        write(&dir.join("Kbuild"), &patch.kbuild(kmod, patchable))?;
        Ok(Stage { links: vec![(links, patch.dir.clone())], dir })
    }

    /// Has kbuild enter the stages of these modules when it works in `work`.
    pub(super) fn together(work: &Path, names: &[&str]) -> Result<()> {
        let dirs: String = names.iter().map(|name| format!(" {name}/")).collect();
        write(&work.join("Kbuild"), &format!("obj-m :={dirs}\n"))
    }

    /// Removes the directory.
    pub(super) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a compiler said, with the names of the sources themselves in place of the links.
    pub(super) fn with_source_names(&self, text: &str) -> String {
        self.links.iter().fold(text.to_owned(), |text, (links, sources)| {
            text.replace(&*links.to_string_lossy(), &sources.to_string_lossy())
        })
    }

    /// The modules in it.
    pub(super) fn modules(&self) -> Result<Vec<String>> {
        Ok(list(&self.dir)?.into_iter().filter(|name| name.ends_with(".ko")).collect())
    }
}

/// Makes `stage` a tree of links to the sources below `source`. Links to what is gone are removed; all else that is
/// there, objects above all, stays.
fn mirror(source: &Path, stage: &Path, rename: &dyn Fn(&str) -> &str) -> Result<()> {
    create(stage)?;
    let names: Vec<String> = list(source)?.into_iter().filter(|name| is_source(name)).collect();
    for name in list(stage)? {
        let path = stage.join(&name);
        if path.is_symlink() && !names.iter().any(|wanted| rename(wanted) == name) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for name in &names {
        let (from, to) = (source.join(name), stage.join(rename(name)));
        if from.is_dir() {
            mirror(&from, &to, &|name| name)?;
        } else if fs::read_link(&to).ok().as_ref() != Some(&from) {
            match fs::remove_file(&to) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot replace {}", to.display()));
                }
                _ => {}
            }
            symlink(&from, &to).with_context(|| format!("cannot create the link {}", to.display()))?;
        }
    }
    Ok(())
}

/// Whether a file or directory of that name is a source: not hidden, and not what cargo or kbuild made.
fn is_source(name: &str) -> bool {
    const MADE: &[&str] =
        &[".o", ".ko", ".a", ".mod", ".mod.c", ".cmd", ".symvers", ".order", ".dwo", ".tmp"];
    !name.starts_with('.') && name != "target" && !MADE.iter().any(|suffix| name.ends_with(suffix))
}

fn list(dir: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot list {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(context)? {
        // What is no text is no source: make could not name it.
        names.extend(entry.with_context(context)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// Writes a file, unless it is as it should be: make goes by the time.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("dir");
        for (name, text) in files {
            let path = dir.path().join(name);
            create(path.parent().expect("parent")).expect("dir");
            fs::write(path, text).expect("write");
        }
        dir
    }

    fn read(dir: &Path) -> Patch {
        Patch::read(dir).expect("a patch")
    }

    #[test]
    fn c_sources() {
        let dir = tree(&[("fix-it/b.c", ""), ("fix-it/a.c", ""), ("fix-it/stub.S", ""), ("fix-it/a.h", "")]);
        let patch = read(&dir.path().join("fix-it"));
        assert!(!patch.is_rust());
        assert_snapshot!(patch.kbuild(Path::new("/sdk/kmod"), None), @r"
        KLP_KMOD := /sdk/kmod
        obj-m := fix-it.o
        fix-it-y := src/a.o src/b.o src/stub.o
        include $(KLP_KMOD)/patch.mk
        ");
    }

    #[test]
    fn room_at_functions() {
        let patch = Patch::of("fix", &["fix.c"]);
        assert_snapshot!(patch.kbuild(Path::new("/sdk/kmod"), Some((7, 6))), @r"
        KLP_KMOD := /sdk/kmod
        klp-patchable := 7,6
        obj-m := fix.o
        fix-y := src/fix.o
        include $(KLP_KMOD)/patch.mk
        ");
    }

    #[test]
    fn rust_sources() {
        let dir = tree(&[("fix/lib.rs", ""), ("fix/other.rs", "")]);
        let patch = read(&dir.path().join("fix"));
        assert!(patch.is_rust());
        assert_snapshot!(patch.kbuild(Path::new("/sdk/kmod"), None), @r"
        KLP_KMOD := /sdk/kmod
        obj-m := fix.o
        fix-rust := src/lib.rs
        include $(KLP_KMOD)/patch.mk
        ");
    }

    #[test]
    fn a_kbuild_file_of_its_own() {
        let own = "obj-m := mod.o\n";
        let dir = tree(&[("mod/Kbuild", own), ("mod/Makefile", "obj-m := other.o\n"), ("mod/mod.c", "")]);
        let patch = read(&dir.path().join("mod"));
        assert_snapshot!(patch.kbuild(Path::new("/sdk/kmod"), None), @r"
        KLP_KMOD := /sdk/kmod
        include $(src)/Kbuild.own
        include $(KLP_KMOD)/patch.mk
        ");
        let work = tempfile::tempdir().expect("dir");
        let stage = Stage::patch(work.path(), &patch, Path::new("/sdk/kmod"), None).expect("staged");
        assert_eq!(list(stage.dir()).expect("list"), ["Kbuild", "Kbuild.own", "Makefile", "mod.c"]);
        assert_eq!(fs::read_to_string(stage.dir().join("Kbuild.own")).expect("read"), own);
        let said = stage.with_source_names(&format!("{}/mod.c:1:1: error: no", stage.dir().display()));
        assert_eq!(said, format!("{}/mod.c:1:1: error: no", patch.dir.display()));

        let dir =
            tree(&[("mod/Makefile", "obj-m := mod.o\ninclude $(KLP_KMOD)/patch.mk\n"), ("mod/mod.c", "")]);
        assert_snapshot!(read(&dir.path().join("mod")).kbuild(Path::new("/sdk/kmod"), None), @r"
        KLP_KMOD := /sdk/kmod
        include $(src)/Makefile
        ");
        // A Makefile that builds something else.
        let dir = tree(&[("mod/Makefile", "all:\n"), ("mod/mod.c", "")]);
        assert_eq!(read(&dir.path().join("mod")).source_dir(), "src");
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        let dir = tree(&[("empty/notes.txt", ""), ("a file", ""), ("bad name/x.c", "")]);
        let refusal = |name: &str| Patch::read(&dir.path().join(name)).expect_err(name).to_string();
        assert!(refusal("nowhere").contains("expected a directory of sources"));
        assert!(refusal("a file").contains("expected a directory with *.c"));
        assert!(refusal("empty").contains("there are no sources"));
        assert!(refusal("bad name").contains("'bad name' is no name for a module"));
    }

    #[test]
    fn staging_keeps_objects_and_drops_what_is_gone() {
        let source =
            tree(&[("x/a.c", "a"), ("x/inc/a.h", ""), ("x/old.c", ""), ("x/a.o", ""), ("x/target/t.c", "")]);
        let work = tempfile::tempdir().expect("dir");
        let patch = read(&source.path().join("x"));
        let stage = Stage::patch(work.path(), &patch, Path::new("/kmod"), None).expect("staged");
        let staged = stage.dir().join("src");
        assert_eq!(list(&staged).expect("list"), ["a.c", "inc", "old.c"]);
        let said = stage.with_source_names(&format!("{}/a.c:1:1: error: no", staged.display()));
        assert_eq!(said, format!("{}/a.c:1:1: error: no", patch.dir.display()));
        let before = fs::symlink_metadata(staged.join("a.c")).expect("link").modified().expect("time");
        let kbuild = fs::metadata(stage.dir().join("Kbuild")).expect("file").modified().expect("time");
        fs::write(staged.join("a.o"), "object").expect("write");

        fs::remove_file(source.path().join("x/old.c")).expect("remove");
        fs::write(source.path().join("x/.hidden.c"), "").expect("write");
        let patch = Patch { sources: patch.sources, ..read(&source.path().join("x")) };
        Stage::patch(work.path(), &patch, Path::new("/kmod"), None).expect("staged");
        assert_eq!(list(&staged).expect("list"), ["a.c", "a.o", "inc"]);
        assert_eq!(fs::symlink_metadata(staged.join("a.c")).expect("link").modified().expect("time"), before);
        assert_eq!(fs::metadata(stage.dir().join("Kbuild")).expect("file").modified().expect("time"), kbuild);
    }

    #[test]
    fn an_architecture_of_another_repository_is_in_the_place_of_the_sdks() {
        let files = [("kmod/Kbuild", ""), ("kmod/arch/x86/shim.h", "sdk"), ("kmod/arch/x86/slot.S", "sdk")];
        let dir = tree(&[files.as_slice(), &[("port/shim.h", "port"), ("port/build.mk", "port")]].concat());
        let (kmod, port) = (dir.path().join("kmod"), dir.path().join("port"));
        let work = tempfile::tempdir().expect("dir");
        let stage = Stage::kmod(work.path(), &kmod, "x86", Some(&port)).expect("staged");
        let staged = stage.dir().join("arch/x86");
        assert_eq!(list(&staged).expect("list"), ["build.mk", "shim.h"]);
        assert_eq!(fs::read_to_string(staged.join("shim.h")).expect("a link"), "port");
        let said = format!(
            "{}:1: error\n{}/Kbuild:1: error",
            staged.join("shim.h").display(),
            stage.dir().display()
        );
        let named = format!("{}:1: error\n{}/Kbuild:1: error", port.join("shim.h").display(), kmod.display());
        assert_eq!(stage.with_source_names(&said), named);

        let stage = Stage::kmod(work.path(), &kmod, "x86", None).expect("staged");
        assert_eq!(fs::read_to_string(stage.dir().join("arch/x86/shim.h")).expect("a link"), "sdk");
        assert_eq!(list(&staged).expect("list"), ["shim.h", "slot.S"]);
    }

    #[test]
    fn another_kernels_objects_go() {
        let work = tempfile::tempdir().expect("dir");
        let dir = work.path().join("build");
        create(&dir).expect("dir");
        let kernel = |release: &str| Kernel {
            arch: crate::arches()[0],
            id: "test".to_owned(),
            release: release.to_owned(),
            build_dir: "/b".into(),
            image: "/i".into(),
            modules: None,
            busybox: "/bb".into(),
            make_vars: Vec::new(),
        };
        Stage::for_kernel(&dir, &kernel("6.1")).expect("first");
        fs::write(dir.join("x.o"), "").expect("write");
        Stage::for_kernel(&dir, &kernel("6.1")).expect("same");
        assert_eq!(list(&dir).expect("list"), ["kernel", "x.o"]);
        Stage::for_kernel(&dir, &kernel("6.12")).expect("other");
        assert_eq!(list(&dir).expect("list"), ["kernel"]);
    }
}
