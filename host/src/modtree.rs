// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Modules as the guest gets them: those asked for, after those that they list as dependencies.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

/// A module's file, uncompressed.
#[derive(Clone, PartialEq, Eq)]
pub struct Module {
    /// The file name, `NAME.ko`.
    pub file_name: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({}, {} bytes)", self.file_name, self.data.len())
    }
}

impl Module {
    /// Reads a module's file, compressed (`.ko.xz`) or not.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its name is not that of a module.
    pub fn read(path: &Path) -> Result<Module> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (file_name, compressed) = match name.strip_suffix(".xz") {
            Some(inner) => (inner, true),
            None => (name, false),
        };
        // The name passes through the guest's shell.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        ensure!(
            file_name.ends_with(".ko") && file_name.bytes().all(plain),
            "'{}' is not a module: expected a name that ends in .ko and holds letters, digits, '_', '-' and '.' only",
            path.display()
        );
        let data = if compressed { unpack(path)? } else { read(path)? };
        Ok(Module { file_name: file_name.to_owned(), data })
    }

    /// The name that the kernel knows it by.
    pub fn name(&self) -> String {
        kernel_name(self.file_name.trim_end_matches(".ko"))
    }

    /// The modules it needs, by the kernel's names (`depends=` in `.modinfo`). None if the file is not even ELF: what
    /// is wrong with it is for the kernel to say.
    fn dependencies(&self) -> Vec<String> {
        let Ok(elf) = object::File::parse(self.data.as_slice()) else { return Vec::new() };
        let info =
            elf.section_by_name(".modinfo").and_then(|section| section.data().ok()).unwrap_or_default();
        info.split(|&byte| byte == 0)
            .filter_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix("depends="))
            .flat_map(|list| list.split(','))
            .filter(|name| !name.is_empty())
            .map(kernel_name)
            .collect()
    }
}

/// The kernel's own modules (`/lib/modules/RELEASE`).
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// By the kernel's name of each module.
    files: std::collections::HashMap<String, PathBuf>,
}

impl Tree {
    /// Lists the tree; without a directory there are no modules.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn new(dir: Option<&Path>) -> Result<Tree> {
        let mut tree = Tree::default();
        if let Some(dir) = dir {
            // `build` and `source` beside it lead to whole kernel trees.
            tree.list(&dir.join("kernel"))?;
        }
        Ok(tree)
    }

    fn list(&mut self, dir: &Path) -> Result<()> {
        let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.list(&path)?;
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && let Some((stem, _)) = name.split_once(".ko")
            {
                self.files.insert(kernel_name(stem), path);
            }
        }
        Ok(())
    }

    /// The module of that name, if the tree has it.
    ///
    /// # Errors
    ///
    /// Its file cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Module>> {
        self.files.get(name).map(|path| Module::read(path)).transpose()
    }

    /// The module of that name, after all that it needs from the tree. Nothing if the tree has no such module: it may be
    /// built in.
    ///
    /// # Errors
    ///
    /// A module's file cannot be read.
    pub fn with_dependencies(&self, name: &str) -> Result<Vec<Module>> {
        let mut order =
            Order { tree: self, given: HashSet::new(), placed: HashSet::new(), modules: Vec::new() };
        order.place(name)?;
        Ok(order.modules)
    }

    /// `given` in the order given, each after what it needs from the tree. A dependency that is nowhere is left out: it
    /// may be built in, and if not, the kernel will say what it misses.
    ///
    /// # Errors
    ///
    /// A module's file cannot be read, or two of them have the same name.
    pub fn load_order(&self, given: &[impl AsRef<Path>]) -> Result<Vec<Module>> {
        let given: Vec<Module> =
            given.iter().map(|path| Module::read(path.as_ref())).collect::<Result<_>>()?;
        let mut order =
            Order { tree: self, given: HashSet::new(), placed: HashSet::new(), modules: Vec::new() };
        for module in &given {
            if !order.given.insert(module.name()) {
                bail!("two modules are named {}: give each once", module.name());
            }
        }
        for module in given {
            for name in module.dependencies() {
                order.place(&name)?;
            }
            order.modules.push(module);
        }
        Ok(order.modules)
    }
}

struct Order<'a> {
    tree: &'a Tree,
    /// What has its place by the caller's order.
    given: HashSet<String>,
    placed: HashSet<String>,
    modules: Vec<Module>,
}

impl Order<'_> {
    fn place(&mut self, name: &str) -> Result<()> {
        if self.given.contains(name) || !self.placed.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(path) = self.tree.files.get(name) else { return Ok(()) };
        let module = Module::read(path)?;
        for needed in module.dependencies() {
            self.place(&needed)?;
        }
        self.modules.push(module);
        Ok(())
    }
}

/// The kernel writes every '-' of a module's name as '_'.
fn kernel_name(stem: &str) -> String {
    stem.replace('-', "_")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("xz")
        .arg("-dc")
        .arg(path)
        .output()
        .context("cannot run xz to unpack a module; to fix it: apt-get install xz-utils")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot unpack {}: {}", path.display(), complaint.trim_end());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use object::write::Object as Writer;
    use object::{Architecture, BinaryFormat, Endianness, SectionKind};

    use super::*;

    fn module(dir: &Path, name: &str, depends: &str) -> PathBuf {
        let mut elf = Writer::new(BinaryFormat::Elf, Architecture::S390x, Endianness::Big);
        let section = elf.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        elf.append_section_data(section, format!("license=GPL\0depends={depends}\0name=x\0").as_bytes(), 1);
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("dir");
        fs::write(&path, elf.write().expect("elf")).expect("write");
        path
    }

    fn names(modules: &[Module]) -> Vec<String> {
        modules.iter().map(Module::name).collect()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let dir = tempfile::tempdir().expect("dir");
        module(dir.path(), "kernel/a/virtio.ko", "");
        module(dir.path(), "kernel/a/virtio-ring.ko", "virtio");
        module(dir.path(), "kernel/b/console.ko", "virtio,virtio_ring");
        let tree = Tree::new(Some(dir.path())).expect("tree");
        assert_eq!(
            names(&tree.with_dependencies("console").expect("read")),
            ["virtio", "virtio_ring", "console"]
        );
        assert_eq!(names(&tree.with_dependencies("built_in").expect("read")), Vec::<String>::new());

        let klp = module(dir.path(), "klp.ko", "");
        let patch = module(dir.path(), "my-patch.ko", "klp,console,nowhere");
        let order = names(&tree.load_order(&[&klp, &patch]).expect("read"));
        assert_eq!(order, ["klp", "virtio", "virtio_ring", "console", "my_patch"]);
        assert!(tree.load_order(&[&klp, &klp]).is_err());
    }

    #[test]
    fn a_file_that_is_no_elf_is_left_to_the_kernel() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("junk.ko");
        fs::write(&path, "junk").expect("write");
        let modules = Tree::default().load_order(&[path]).expect("read");
        assert_eq!(names(&modules), ["junk"]);
    }

    #[test]
    fn names_are_plain() {
        for bad in ["a b.ko", "x", "/", "a$b.ko"] {
            assert!(
                Module::read(Path::new(bad)).expect_err("bad").to_string().contains("is not a module"),
                "{bad}"
            );
        }
    }
}
