// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The functions that a patch replaces: whether each can be found and patched, and what of it the patch does not reach.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::file::{File, Function, Place};
use super::patch::{Declared, Func, Replacement, Target};
use super::{Finding, Severity};
use crate::kernel::symbols::Symbols;
use crate::modtree::{Module, Tree};
use crate::patchable::{self, Entry};

/// `KSYM_NAME_LEN` (`include/linux/kallsyms.h`) without the zero that ends a name.
const LONGEST_NAME: usize = 511;

/// What an object says of a name.
struct Named {
    /// How many symbols there are.
    count: u64,
    /// How many of them ftrace can trace.
    traceable: u64,
    /// What the compiler made of the function: parts and clones.
    clones: Vec<String>,
    /// Of a module that was compiled with room for slots: why a function that ftrace does not know has none.
    lack: Option<String>,
}

pub(super) fn check(
    file: &File<'_>,
    declared: &Declared,
    symbols: &Symbols,
    tree: &Tree,
    others: &[PathBuf],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if declared.objects.is_empty() {
        findings.push(Finding::new(
            Severity::Error,
            "no-objects",
            "the patch has no objects",
            "fill in klp_patch.objs",
        ));
    }
    for (index, target) in declared.objects.iter().enumerate() {
        let object = target.module.as_deref().unwrap_or("vmlinux");
        if declared.objects[..index].iter().any(|other| other.module == target.module) {
            findings.push(
                error("duplicate-object", "it is named twice", "merge the two lists of functions")
                    .about(object, ""),
            );
        }
        if object == "klp" {
            let message = "it is the engine itself, which cannot patch itself";
            findings.push(error("own-object", message, "build a klp.ko with the change").about(object, ""));
            continue;
        }
        findings.extend(declared_right(object, target));
        match &target.module {
            None => {
                let named = |name: &str| Named {
                    count: symbols.named(name).len() as u64,
                    traceable: symbols.traceable(name) as u64,
                    clones: symbols.clones(name).into_iter().map(str::to_owned).collect(),
                    lack: None,
                };
                findings.extend(target.funcs.iter().flat_map(|func| function(file, object, func, &named)));
            }
            Some(name) => match module(name, tree, others)? {
                Some(module) => {
                    let module_file = File::parse(&module.data).with_context(|| module.file_name.clone())?;
                    let entries =
                        patchable::entries(&module.data).with_context(|| module.file_name.clone())?;
                    let named =
                        |name: &str| in_module(&module_file, entries.as_deref().unwrap_or_default(), name);
                    findings
                        .extend(target.funcs.iter().flat_map(|func| function(file, object, func, &named)));
                }
                None => findings.push(
                    Finding::new(
                        Severity::Note,
                        "object-unknown",
                        "it is none of the kernel's own modules, and its functions were not looked at",
                        format!("name its file with --object {name}.ko"),
                    )
                    .about(object, ""),
                ),
            },
        }
    }
    Ok(findings)
}

pub(super) fn error(check: &'static str, message: &str, help: &str) -> Finding {
    Finding::new(Severity::Error, check, message, help)
}

/// The file of a module that a patch changes.
pub(super) fn module(name: &str, tree: &Tree, others: &[PathBuf]) -> Result<Option<Module>> {
    for path in others {
        let module = Module::read(path)?;
        if module.name() == name {
            return Ok(Some(module));
        }
    }
    tree.get(name)
}

/// What can be said without the object.
fn declared_right(object: &str, target: &Target) -> Vec<Finding> {
    let mut findings = Vec::new();
    if target.funcs.is_empty() {
        let message = "no function of it is replaced";
        findings.push(error("no-functions", message, "fill in klp_object.funcs").about(object, ""));
    }
    for (index, func) in target.funcs.iter().enumerate() {
        let Some(name) = &func.name else {
            findings.push(
                error("no-name", "a function has no name", "fill in klp_func.old_name").about(object, ""),
            );
            continue;
        };
        let same = |other: &Func| other.name == func.name && other.position.max(1) == func.position.max(1);
        if target.funcs[..index].iter().any(same) {
            let message = "it is replaced twice";
            findings
                .push(error("duplicate-function", message, "take one of the two out").about(object, name));
        }
        if func.replacement == Replacement::None {
            let message = "it has no replacement";
            findings.push(error("no-replacement", message, "fill in klp_func.new_func").about(object, name));
        }
        if name.len() > LONGEST_NAME {
            let message = format!("its name has {} bytes: the kernel's end at {LONGEST_NAME}", name.len());
            findings.push(error("name-too-long", &message, "correct klp_func.old_name").about(object, name));
        }
    }
    findings
}

/// Whether a position, which `field` gives, tells which one of `count` symbols is meant.
pub(super) fn which_one(count: u64, position: u64, field: &str) -> Option<Finding> {
    if position == 0 && count > 1 {
        let message = format!("{count} symbols have that name, and {field} is 0");
        let help = format!(
            "set it to the position of the one that is meant, 1 to {count}, in the order of /proc/kallsyms"
        );
        return Some(error("symbol-ambiguous", &message, &help));
    }
    let message = format!("{field} is {position}: there are {count} symbols of that name");
    let help = "correct it; it counts from 1, in the order of /proc/kallsyms";
    (position > count).then(|| error("symbol-position", &message, help))
}

/// What the object says of a function that is to be replaced.
fn function(file: &File<'_>, object: &str, func: &Func, named: &dyn Fn(&str) -> Named) -> Vec<Finding> {
    let Some(name) = &func.name else { return Vec::new() };
    let Named { count, traceable, clones, lack } = named(name);
    let mut findings = Vec::new();
    if count == 0 {
        let (message, help) = match clones.as_slice() {
            [] => (
                "the object has no symbol of that name".to_owned(),
                "correct the name; a function that the compiler put into all of its callers has no symbol: replace \
                 those instead",
            ),
            clones => (
                format!("the object has no symbol of that name, but {}", clones.join(", ")),
                "the compiler changed the function: replace what is there, with its parameters, or its callers",
            ),
        };
        findings.push(error("symbol-missing", &message, help));
    } else if let Some(finding) = which_one(count, func.position, "klp_func.old_sympos") {
        findings.push(finding);
    } else if traceable == 0
        && let Some(lack) = lack
    {
        let help = "build its module with more (--patchable), or replace its callers instead";
        findings.push(error("no-room", &lack, help));
    } else if traceable == 0 {
        findings.push(error(
            "not-traceable",
            "ftrace knows no patch site in it: it is marked notrace, in init or entry code, or in assembly",
            "replace its callers instead",
        ));
    } else if traceable < count {
        findings.push(Finding::new(
            Severity::Warning,
            "maybe-not-traceable",
            format!("of {count} functions of that name ftrace can trace {traceable}; which ones is known when it is loaded"),
            "check that the one that is meant is traced: available_filter_functions_addrs, or a function that only it calls",
        ));
    }
    // The parts that a replacement takes with it: they are only reached through the function, or hold what is never
    // executed again once it is replaced.
    let remaining: Vec<&str> = clones
        .iter()
        .map(String::as_str)
        .filter(|clone| count > 0 && !clone.ends_with(".cold") && !clone.contains(".cold."))
        .collect();
    if !remaining.is_empty() {
        findings.push(Finding::new(
            Severity::Warning,
            "clones",
            format!(
                "the compiler made {} of it, which some callers may call directly: they keep the old code",
                remaining.join(", ")
            ),
            "replace those as well, or the callers",
        ));
    }
    if let Replacement::Here(place) = func.replacement
        && file.function_at(place).is_none()
    {
        findings.push(Finding::new(
            Severity::Error,
            "replacement",
            "klp_func.new_func leads to no function of the module's text",
            "point it at the replacement's first instruction, in code that is not freed after init",
        ));
    }
    findings.into_iter().map(|finding| finding.about(object, name)).collect()
}

/// What a module's file says of a name. Its sites are in one of two sections, after the compiler's option; with the older one
/// the other, if it is there, is about room before functions. A site is in its function or, with such room, ahead of it.
fn in_module(file: &File<'_>, entries: &[Entry], name: &str) -> Named {
    const AHEAD: u64 = 16;
    let mut sites = file.pointers_in("__mcount_loc");
    if sites.is_empty() {
        sites = file.pointers_in("__patchable_function_entries");
    }
    let functions: Vec<Function<'_>> = file.functions().collect();
    let holds = |function: &Function<'_>, site: Place| {
        site.section == function.place.section
            && site.offset.wrapping_sub(function.place.offset) < function.code.len() as u64
    };
    let is_traced = |function: &&Function<'_>| {
        sites.iter().any(|&site| {
            let ahead = function.place.offset.wrapping_sub(site.offset) <= AHEAD
                && site.section == function.place.section;
            holds(function, site) || ahead && !functions.iter().any(|other| holds(other, site))
        })
    };
    let named = || functions.iter().filter(|function| function.name == name);
    let entries = || entries.iter().filter(|entry| entry.func == name);
    let with_room = entries().filter(|entry| entry.lack.is_none()).count();
    let is_clone = |other: &&str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    Named {
        count: named().count() as u64,
        traceable: (named().filter(is_traced).count() + with_room) as u64,
        clones: functions.iter().map(|function| function.name).filter(is_clone).map(str::to_owned).collect(),
        lack: entries().find_map(|entry| entry.lack.clone()),
    }
}
