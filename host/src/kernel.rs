// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The kernels that modules are built for and that QEMU boots.

use std::path::PathBuf;

use crate::Arch;

/// A kernel that is on this machine: what `make` builds against and what QEMU boots.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its architecture.
    pub arch: &'static Arch,
    /// The id a user names it by (`debian-6.1`), or the build directory of a user's own kernel.
    pub id: String,
    /// The release string (`uname -r`), from the build directory's `include/config/kernel.release`.
    pub release: String,
    /// The kernel build directory (`make -C`).
    pub build_dir: PathBuf,
    /// The bootable image.
    pub image: PathBuf,
    /// The installed modules (`…/lib/modules/RELEASE`), where there are any.
    pub modules: Option<PathBuf>,
    /// A static busybox of the kernel's architecture.
    pub busybox: PathBuf,
    /// Variables the make line needs beyond ARCH and CROSS_COMPILE (Debian's 6.1 wants DEB_HOST_ARCH and others).
    pub make_vars: Vec<(String, String)>,
}
