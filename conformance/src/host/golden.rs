// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Golden files: what an architecture crate says of real code, as somebody read and approved it.

use std::panic::{self, AssertUnwindSafe};

use super::{Check, Description};

/// Compares `text` with the golden file `ARCH/NAME.snap`.
///
/// # Errors
///
/// It differs. The message ends with the command that approves the new text.
pub(crate) fn check(d: &Description, name: &str, text: &str) -> Check {
    let (dir, arch) = (d.files.golden, d.name);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("{dir}/{arch}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description("SPDX-License-Identifier: GPL-2.0-only OR MIT");
    let compare = || settings.bind(|| insta::assert_snapshot!(name, text));
    panic::catch_unwind(AssertUnwindSafe(compare)).map_err(|_| {
        format!(
            "differs from {dir}/{arch}/{name}.snap (above); it is now:\n{text}\n\
             to approve it: {}",
            d.files.approve(arch, name)
        )
    })
}
