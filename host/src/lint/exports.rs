// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a module takes from others: whether it is exported, to it, in the version that it was compiled for.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

use super::file::File;
use super::{Against, Finding, Severity};
use crate::modtree::Module;

/// A symbol that a kernel or a module exports.
struct Export {
    /// The version of its type; none where the kernel has no CONFIG_MODVERSIONS.
    crc: Option<u32>,
    gpl_only: bool,
    namespace: String,
}

/// Licences that may use symbols exported for GPL code only (`license_is_gpl_compatible` in `include/linux/license.h`).
const GPL_COMPATIBLE: &[&str] =
    &["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// As `resolve_symbol` in `kernel/module/main.c`.
pub(super) fn check(file: &File<'_>, against: &Against<'_>) -> Result<Vec<Finding>> {
    let mut exports = symvers(&against.kernel.build_dir.join("Module.symvers"))?;
    let own = std::iter::once(against.klp).chain(against.others.iter().map(AsRef::as_ref));
    for path in own {
        let module = Module::read(path)?;
        let names = File::parse(&module.data).with_context(|| format!("{}", path.display()))?;
        for name in names.defined().filter_map(|name| name.strip_prefix("__ksymtab_")) {
            let export = Export { crc: None, gpl_only: true, namespace: String::new() };
            exports.entry(name.to_owned()).or_insert(export);
        }
    }
    let license = file.modinfo("license").unwrap_or_default();
    let versions = versions(file);
    let mut findings = Vec::new();
    // The module loader gives ppc64 modules their own (`dedotify` in arch/powerpc/kernel/module_64.c).
    for name in file.undefined().filter(|name| *name != ".TOC.") {
        let Some(export) = exports.get(name) else {
            findings.push(
                Finding::new(
                    Severity::Error,
                    "symbol-not-exported",
                    "neither the kernel nor klp.ko exports it: expected an exported symbol",
                    "if the kernel has it without exporting it, build the patch with `klp build`, which makes a \
                     relocation of the reference; if another module exports it, name that with --object",
                )
                .about("", name),
            );
            continue;
        };
        if export.gpl_only && !GPL_COMPATIBLE.contains(&license) {
            findings.push(
                Finding::new(
                    Severity::Error,
                    "license",
                    format!("it is exported for GPL code only, and the module's licence is {license:?}"),
                    "say MODULE_LICENSE(\"GPL\"), or another that the kernel takes for one, if that is the case",
                )
                .about("", name),
            );
        }
        if !export.namespace.is_empty() && file.modinfos("import_ns").all(|other| other != export.namespace) {
            findings.push(
                Finding::new(
                    Severity::Error,
                    "namespace",
                    format!(
                        "it is exported in the namespace {0}, which the module does not import",
                        export.namespace
                    ),
                    format!("say MODULE_IMPORT_NS({})", export.namespace),
                )
                .about("", name),
            );
        }
        if let (Some(expected), Some(&found)) = (export.crc, versions.get(name))
            && expected != found
        {
            findings.push(
                Finding::new(
                    Severity::Error,
                    "symbol-version",
                    format!(
                        "the module is compiled for version {found:#010x} of it: expected {expected:#010x}"
                    ),
                    "build it against the headers of this very kernel package",
                )
                .about("", name),
            );
        }
    }
    Ok(findings)
}

/// Reads `Module.symvers`: version, symbol, module, kind of export, and namespace, between tabs.
fn symvers(path: &std::path::Path) -> Result<HashMap<String, Export>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut exports = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (Some(crc), Some(name), Some(_module), Some(kind)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let crc = u32::from_str_radix(crc.trim_start_matches("0x"), 16).ok().filter(|&crc| crc != 0);
        let namespace = fields.next().unwrap_or_default().to_owned();
        exports.insert(name.to_owned(), Export { crc, gpl_only: kind.ends_with("GPL"), namespace });
    }
    Ok(exports)
}

/// The versions that a module was compiled for (`struct modversion_info` in `include/linux/module.h`: a word and a name,
/// 64 bytes in all).
fn versions<'f>(file: &File<'f>) -> HashMap<&'f str, u32> {
    let section = file.section("__versions").unwrap_or_default();
    let entry = |entry: &'f [u8]| {
        let (crc, name) = entry.split_first_chunk::<8>()?;
        let crc = if file.is_little_endian() { u64::from_le_bytes(*crc) } else { u64::from_be_bytes(*crc) };
        let end = name.iter().position(|&byte| byte == 0)?;
        Some((std::str::from_utf8(&name[..end]).ok()?, u32::try_from(crc).ok()?))
    };
    section.chunks_exact(64).filter_map(entry).collect()
}
