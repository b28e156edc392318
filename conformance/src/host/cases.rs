// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The list of cases.

mod branch;
mod facts;
mod module;
mod patchable;
mod redirect;
mod relocation;
mod return_stack;
mod site;
mod slot;
mod stated;
mod unwind;

use klp_core::Architecture;

use super::{Case, Description};

pub(super) fn all<A: Architecture>(description: &'static Description) -> Vec<Case> {
    let groups = [
        stated::cases::<A>(),
        facts::cases::<A>(description),
        branch::cases::<A>(description),
        slot::cases::<A>(description),
        site::cases::<A>(description),
        redirect::cases::<A>(description),
        return_stack::cases::<A>(description),
        relocation::cases::<A>(description),
        unwind::cases::<A>(description),
        module::cases(description),
        patchable::cases::<A>(description),
    ];
    groups.into_iter().flatten().map(|case| case.unless_unstated(A::UNSTATED)).collect()
}

/// Fails unless there is a sample of each of the architecture's kernels.
fn of_each_kernel<'a>(
    d: &Description,
    what: &str,
    samples: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), String> {
    let arch = (d.host)().ok_or_else(|| format!("the host tools know no architecture '{}'", d.name))?;
    ensure!(samples.clone().next().is_some(), "no {what} of any kernel");
    for kernel in arch.kernels {
        ensure!(samples.clone().any(|sample| sample == kernel.id), "no {what} of {}", kernel.id);
    }
    Ok(())
}

/// Fails with the formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// Fails unless both are equal: what was found, what was expected, and what was asked.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => if found != expected {
                return Err(format!(
                    "{}:\n     found {found:x?}\n  expected {expected:x?}",
                    format_args!($($message)+)
                ));
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq};
