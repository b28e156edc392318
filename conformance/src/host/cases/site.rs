// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H4: patch sites in functions of real kernels.

use std::fmt::Write as _;

use klp_core::Architecture;
use klp_core::ftrace::{PatchSite, SiteError};

use super::{ensure, ensure_eq, of_each_kernel};
use crate::host::description::{SiteSample, bytes};
use crate::host::oracle::{hex, listing};
use crate::host::{Case, Check, Description, golden};

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let manual = d.manuals.sites;
    vec![
        Case::new("H4.1", "site.is_where_ftrace_writes", manual, is_where_ftrace_writes::<A>),
        Case::new("H4.2", "site.of_real_functions_is_as_approved", manual, approved::<A>),
        Case::new("H4.3", "site.anywhere_else_is_refused", manual, elsewhere::<A>),
        Case::new("H4.4", "site.too_far_is_refused", manual, too_far::<A>),
        Case::new("H4.5", "site.of_functions_that_cannot_be_traced_is_refused", manual, untraceable::<A>),
        Case::new("H4.6", "site.with_unknown_code_is_refused", manual, unknown_code::<A>),
        Case::new("H4.7", "site.with_code_cut_short_is_refused", manual, cut_short::<A>),
        Case::new(
            "H4.8",
            "site.function_of_a_probe_by_name",
            "trace/kprobes.rst; arch_adjust_kprobe_addr() and kprobe_lookup_name() of the architecture",
            function_of_probe::<A>,
        ),
    ]
}

/// The samples that can be traced, with their sites.
fn traced(d: &'static Description) -> impl Iterator<Item = (&'static SiteSample, u64)> {
    d.sites.iter().filter_map(|sample| Some((sample, sample.site?)))
}

fn what(sample: &SiteSample, state: &str) -> String {
    format!("{} of {}, {state}", sample.function, sample.kernel)
}

fn is_where_ftrace_writes<A: Architecture>(d: &'static Description) -> Check {
    ensure!(A::ENTRY_LEN <= 24, "samples have 24 bytes, ENTRY_LEN is {}", A::ENTRY_LEN);
    let mut kernels: Vec<&str> = Vec::new();
    for (sample, site) in traced(d) {
        if !kernels.contains(&sample.kernel) {
            kernels.push(sample.kernel);
        }
        for (state, code) in sample.states() {
            let location = sample.at + site;
            let found = A::patch_site(sample.at, location, &code);
            let found = found.map_err(|e| format!("{}: refused, {e:x?}", what(sample, state)))?;
            ensure_eq!((found.function, found.site), (sample.at, location), "{}", what(sample, state));
            let resume = sample.at + behind_the_site(d, sample, site, &code) as u64;
            ensure_eq!(found.resume, resume, "{}: resume", what(sample, state));
            ensure!(
                site <= A::MAX_SITE_OFFSET,
                "MAX_SITE_OFFSET is {}, the site at +{site}",
                A::MAX_SITE_OFFSET
            );
        }
    }
    of_each_kernel(d, "patch site", kernels.into_iter())
}

/// From the function's start to behind the instructions of `code` that ftrace writes: those from the site on, up to the last byte
/// that differs between the two states.
fn behind_the_site(d: &Description, sample: &SiteSample, site: u64, code: &[u8]) -> usize {
    let oracle = (d.oracle)();
    let [(_, off), (_, on)] = sample.states();
    let last = (0..code.len()).rev().find(|&at| off[at] != on[at]).unwrap_or_default();
    let mut at = usize::try_from(site).expect("small");
    while at <= last {
        let insn = oracle.insn(sample.at + at as u64, &code[at..]);
        at += insn.map_or(code.len(), |insn| insn.len);
    }
    at
}

fn approved<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let mut text = String::new();
    for (sample, site) in traced(d) {
        for (state, code) in sample.states() {
            let result = A::patch_site(sample.at, sample.at + site, &code);
            let result = result.map(|PatchSite { function, site, resume }| {
                format!("site +{}, resume +{}", site - function, resume - function)
            });
            writeln!(text, "{}: {result:x?}", what(sample, state)).map_err(|error| error.to_string())?;
            text += &listing(oracle.as_ref(), sample.at, &code[..A::ENTRY_LEN]);
        }
    }
    golden::check(d, "site.of_real_functions_is_as_approved", &text)
}

/// Every other address near a function that can be traced is not its site.
fn elsewhere<A: Architecture>(d: &'static Description) -> Check {
    for (sample, site) in traced(d) {
        for (state, code) in sample.states() {
            for offset in (0..=A::MAX_SITE_OFFSET).filter(|&offset| offset != site) {
                let found = A::patch_site(sample.at, sample.at + offset, &code);
                ensure!(found.is_err(), "{}: accepted at +{offset}, {found:x?}", what(sample, state));
            }
        }
    }
    Ok(())
}

fn too_far<A: Architecture>(d: &'static Description) -> Check {
    let limit = A::MAX_SITE_OFFSET;
    for (sample, _) in traced(d) {
        let code = bytes(sample.on);
        let beyond = limit.cast_signed() + A::INSN_ALIGN.cast_signed();
        for offset in [-(1 << 20), -A::INSN_ALIGN.cast_signed(), beyond, 1 << 20] {
            let found = A::patch_site(sample.at, sample.at.wrapping_add_signed(offset), &code);
            ensure_eq!(found, Err(SiteError::TooFar { offset, limit }), "{}", what(sample, "enabled"));
        }
    }
    Ok(())
}

fn untraceable<A: Architecture>(d: &'static Description) -> Check {
    let mut tried = 0;
    for sample in d.sites.iter().filter(|sample| sample.site.is_none()) {
        for offset in 0..=A::MAX_SITE_OFFSET {
            let found = A::patch_site(sample.at, sample.at + offset, &bytes(sample.off));
            ensure!(found.is_err(), "{}: accepted at +{offset}, {found:x?}", what(sample, "as it is"));
            tried += 1;
        }
    }
    ensure!(tried > 0, "no sample of a function that cannot be traced");
    Ok(())
}

/// Whatever bit of the entry is flipped: if the site is accepted, it holds what ftrace or the compiler puts there.
fn unknown_code<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    for (sample, site) in traced(d) {
        for (state, code) in sample.states() {
            let offset = usize::try_from(site).expect("small");
            let mut refused = 0;
            for bit in 0..8 * A::ENTRY_LEN {
                let mut code = code.clone();
                code[bit / 8] ^= 1 << (bit % 8);
                match A::patch_site(sample.at, sample.at + site, &code) {
                    Ok(_) => {
                        let insn = oracle.insn(sample.at + site, &code[offset..]);
                        let text = insn.as_ref().map_or("unknown", |insn| &insn.text);
                        ensure!(
                            insn.as_ref().is_some_and(d.is_site),
                            "{}: accepted with '{text}' at the site, {}",
                            what(sample, state),
                            hex(&code)
                        );
                    }
                    Err(SiteError::UnknownCode { at, found }) => {
                        refused += 1;
                        let offset = usize::try_from(at.wrapping_sub(sample.at)).unwrap_or(usize::MAX);
                        let there = code.get(offset..).and_then(|code| code.first_chunk());
                        ensure_eq!(Some(&found), there, "{}: found at {at:#x}", what(sample, state));
                    }
                    Err(other) => return Err(format!("{}: refused for {other:x?}", what(sample, state))),
                }
            }
            ensure!(refused > 0, "{}: accepted whatever bit is flipped", what(sample, state));
        }
    }
    Ok(())
}

fn cut_short<A: Architecture>(d: &'static Description) -> Check {
    for (sample, site) in traced(d) {
        for (state, code) in sample.states() {
            for len in 0..A::ENTRY_LEN {
                let found = A::patch_site(sample.at, sample.at + site, &code[..len]);
                ensure_eq!(found, Err(SiteError::ShortCode), "{}: {len} bytes", what(sample, state));
            }
        }
    }
    Ok(())
}

fn function_of_probe<A: Architecture>(d: &'static Description) -> Check {
    for sample in d.sites {
        for (state, code) in sample.states() {
            let found = sample.at + sample.probe;
            let probe = usize::try_from(sample.probe).expect("small");
            // What lies before a function is not its own: padding, or another function's last bytes.
            for padding in [0x00, 0x90, 0xff, 0x07] {
                let before = [&[padding; 16], &code[..probe]].concat();
                let limit = usize::try_from(A::MAX_SITE_OFFSET).expect("small");
                let before = &before[before.len() - limit.min(before.len())..];
                let function = A::function_of_probe(found, before);
                ensure_eq!(function, sample.at, "{}: a probe at +{probe}", what(sample, state));
            }
        }
    }
    Ok(())
}
