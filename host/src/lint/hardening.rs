// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Whether a module's code is compiled as the kernel's own: the hardening that its configuration asks for, and what
//! walkers of stacks need. Read from the code, not from what the compiler was told.

mod arm64;
mod ppc64;
mod riscv64;
mod s390;
mod x86_64;

pub use super::file::{File, Function};
use super::patch::{Declared, Replacement};
use super::{Finding, Severity};
use crate::Arch;

/// The rules for one architecture's code. What its configuration asks of the file as a whole is found at once.
///
/// ```
/// use klp_host::lint::hardening::{Hardening, Rule};
///
/// const HARDENING: Hardening = Hardening(|_, config, _| {
///     let rule = Rule {
///         check: "landing-pad",
///         expected: "a replacement begins with a landing pad, since the kernel checks for it",
///         broken: |function| !function.code.starts_with(&[0x17, 0, 0, 0]),
///         of_replacements: true,
///     };
///     if config.has(&["CONFIG_KERNEL_LANDING_PADS"]) { vec![rule] } else { Vec::new() }
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Hardening(pub Rules);

/// Rules for a file, under the configuration of the kernel that it is for.
pub type Rules = fn(&File<'_>, &Config<'_>, &mut Vec<Finding>) -> Vec<Rule>;

pub(crate) const X86_64: Hardening = Hardening(x86_64::rules);
pub(crate) const ARM64: Hardening = Hardening(arm64::rules);
pub(crate) const PPC64: Hardening = Hardening(ppc64::rules);
pub(crate) const RISCV64: Hardening = Hardening(riscv64::rules);
pub(crate) const S390: Hardening = Hardening(s390::rules);

/// A kernel's configuration (`include/config/auto.conf`).
#[derive(Debug)]
pub struct Config<'c>(&'c str);

impl Config<'_> {
    /// Whether any of these is set; more than one if its name has changed.
    pub fn has(&self, names: &[&str]) -> bool {
        let is_set = |line: &str| names.iter().any(|name| line.strip_prefix(name) == Some("=y"));
        self.0.lines().any(is_set)
    }
}

/// What may be wrong with functions of the module.
#[derive(Debug)]
pub struct Rule {
    /// A name for it that does not change.
    pub check: &'static str,
    /// What is to be expected, and why.
    pub expected: &'static str,
    /// Whether a function breaks it.
    pub broken: fn(&Function<'_>) -> bool,
    /// Whether it holds for replacements only, as they are where calls are sent.
    pub of_replacements: bool,
}

/// How many functions a finding names.
const NAMED: usize = 5;

pub(super) fn check(file: &File<'_>, patches: &[Declared], arch: &Arch, config: &str) -> Vec<Finding> {
    let config = Config(config);
    let mut findings = Vec::new();
    if config.has(&["CONFIG_CFI_CLANG", "CONFIG_CFI"]) {
        findings.push(Finding::new(
            Severity::Warning,
            "cfi",
            "the kernel checks the type of every function that is called indirectly (CONFIG_CFI_CLANG), which this cannot see",
            "build the patch with the clang that built the kernel",
        ));
    }
    let Some(Hardening(rules)) = arch.hardening else {
        findings.push(Finding::new(
            Severity::Warning,
            "hardening",
            format!("whether the code is hardened as {arch}'s kernels are was not looked at: nobody has written what to look for"),
            "compare its flags with the kernel's own; what to look for goes to host/src/lint/hardening",
        ));
        return findings;
    };
    let rules = rules(file, &config, &mut findings);
    let funcs = patches.iter().flat_map(|patch| &patch.objects).flat_map(|object| &object.funcs);
    let replacements: Vec<Function<'_>> = funcs
        .filter_map(|func| match func.replacement {
            Replacement::Here(place) => file.function_at(place),
            _ => None,
        })
        .collect();
    for rule in rules {
        let functions: Vec<Function<'_>> = match rule.of_replacements {
            true => replacements.clone(),
            false => file.functions().collect(),
        };
        let mut broken: Vec<&str> = functions
            .iter()
            .filter(|function| (rule.broken)(function))
            .map(|function| function.name)
            .collect();
        broken.dedup();
        if broken.is_empty() {
            continue;
        }
        let more = broken.len().saturating_sub(NAMED);
        broken.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        findings.push(Finding::new(
            Severity::Warning,
            rule.check,
            format!("{}; it is not so in {}{more}", rule.expected, broken.join(", ")),
            "build it with `klp build` or the kernel's own kbuild, and take out what its Kbuild file does to the flags",
        ));
    }
    findings
}

/// The words of code that has one instruction in each.
fn words(function: &Function<'_>) -> impl Iterator<Item = u32> {
    function.code.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}
