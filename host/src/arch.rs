// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The names one architecture goes by, in one table.
//!
//! The kernel, Debian, the GNU toolchain, QEMU and rustc each have their own name for the same machine. Everything on
//! the host side takes the name it needs from [`arches`]; nothing derives one name from another.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use klp_arches::{Arm64, Ppc64, Riscv64, S390, X86_64};
use klp_core::stated::{Fact, Stage};

use crate::dump::mmu::{self, PageTables};
use crate::kernel::debian::{BOOKWORM, DEBIAN_6_1, DEBIAN_6_12, Known, Release, TRIXIE};
use crate::lint::hardening::{self, Hardening};
use crate::patchable::Room;
use crate::{Facts, Failure};

/// One architecture: its names, how QEMU runs a stock kernel of it, and what host tools know of it beside what its crate
/// states.
#[derive(Clone, Debug)]
pub struct Arch {
    /// The value of `--arch`, and the suffix of the architecture crate (`arch-NAME`).
    pub name: &'static str,
    /// What a kernel's configuration (`include/config/auto.conf`) says that is for this architecture.
    pub config: &'static [&'static str],
    /// `ARCH=` on a kernel make line.
    pub kernel_arch: &'static str,
    /// The directory under `arch/` in the kernel tree.
    pub srcarch: &'static str,
    /// Debian's architecture (`dpkg --print-architecture`).
    pub debian: &'static str,
    /// The flavour suffix of Debian's kernel packages (`linux-image-VERSION-FLAVOUR`).
    pub flavour: &'static str,
    /// GNU triple: the prefix of the cross toolchain, without the trailing dash.
    pub triple: &'static str,
    /// The rustc target that kernel objects are compiled for.
    pub rust_target: &'static str,
    /// The kernel's name for the machine (`UTS_MACHINE`, `uname -m`).
    pub machine: &'static str,
    /// The Debian package of the cross compiler; `None` where the host's own compiler serves.
    pub gcc_package: Option<&'static str>,
    /// Its stock kernels that can be fetched, oldest first. There may be none: then guests and modules need a kernel of the
    /// user's own.
    pub kernels: &'static [&'static Known],
    /// The release of Debian that its kernels are taken from, and programs for guests.
    pub release: &'static Release,
    /// The stage that its port has reached: the cases of this one and of those before pass on its kernels, and `klp test` runs
    /// them there. `None`: none yet.
    pub reached: Option<Stage>,
    /// The root of its repository, if that is not the SDK's. In it are `kmod`, with what the SDK's `kmod/arch/SRCARCH` has of others
    /// and the manifest that `klp.ko` is compiled by; `results.txt`; and what is built (`target`).
    pub repository: Option<&'static str>,
    /// What its crate states.
    pub facts: Facts,
    /// The room for slots that its compilers leave at functions (`--patchable`), or why there is none.
    pub room: Result<Room, &'static str>,
    /// How its page tables are read; without, memory dumps are refused.
    pub page_tables: Option<PageTables>,
    /// How its kernels' hardening is seen in a module's code; without, `klp lint` says that it did not look.
    pub hardening: Option<Hardening>,
    /// How QEMU runs it.
    pub qemu: Qemu,
}

/// How QEMU runs an architecture's stock kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The emulator binary.
    pub binary: &'static str,
    /// The Debian package that ships it.
    pub package: &'static str,
    /// The firmware that the machine starts with, where it is no part of QEMU: its file, and the Debian package that has it.
    pub firmware: Option<(&'static str, &'static str)>,
    /// The emulator of user programs.
    pub user: &'static str,
    /// Whether each CPU of the machine has a thread of QEMU's, or all have one: see [`Threads`].
    pub threads: Threads,
    /// Machine and CPU arguments. The CPU is pinned so that results repeat.
    pub machine: &'static [&'static str],
    /// The kernel's name for the first console (`console=`).
    pub console: &'static str,
    /// What gives the machine a second terminal, on the character device `channel`; one that stock kernels have built
    /// in, wherever the machine has such.
    pub channel: &'static [&'static str],
    /// The kernel's name for that terminal.
    pub channel_tty: &'static str,
    /// The kernel's name for its driver, where some stock kernels have it as a module only.
    pub channel_module: Option<&'static str>,
    /// Kernel arguments the machine needs beyond the console.
    pub append: &'static str,
    /// Which file of a kernel package boots.
    pub image: Image,
}

/// How QEMU's CPUs share the threads of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One thread for all CPUs. With one each, a CPU can go on running an instruction that another has replaced: QEMU forgets the
    /// translation before the store is done (`notdirty_write` in QEMU's `accel/tcg/cputlb.c`), and if the storing thread is
    /// preempted in between, what is there still is translated once more. It would explain what was seen, on loaded hosts
    /// only: calls of one function that go to the original as long as a patch is there (ppc64), and `int3: 0000` (x86_64).
    One,
    /// One thread, and QEMU counts instructions: a CPU's turn ends at the next of the guest's timers. For a machine whose CPUs wait for
    /// each other in loops that do not end a turn.
    Counted,
    /// A thread each. For a machine whose kernel changes the sites of functions with all other CPUs stopped, so that none
    /// translates them meanwhile.
    Each,
}

/// The kind of kernel image that a machine boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// The compressed `vmlinuz-VERSION`.
    Vmlinuz,
    /// `vmlinux-VERSION`: the ELF file, or what the architecture's `make Image` makes.
    Vmlinux,
}

/// The architectures of this workspace.
static ARCHES: &[Arch] = &[
    Arch {
        name: "x86_64",
        config: &["CONFIG_X86_64=y"],
        kernel_arch: "x86_64",
        srcarch: "x86",
        debian: "amd64",
        flavour: "amd64",
        triple: "x86_64-linux-gnu",
        rust_target: "x86_64-unknown-none",
        machine: "x86_64",
        gcc_package: None,
        kernels: &[&DEBIAN_6_1, &DEBIAN_6_12],
        release: &BOOKWORM,
        reached: Some(Stage::PatchSites),
        repository: None,
        facts: Facts::of::<X86_64>(),
        room: Ok(Room {
            enough: (21, 16),
            against: |first, second| {
                (first.checked_sub(second) != Some(5))
                    .then_some("a branch takes five bytes at the entry: N - M has to be 5, as in 21,16")
            },
        }),
        page_tables: Some(mmu::X86_64),
        hardening: Some(hardening::X86_64),
        qemu: Qemu {
            binary: "qemu-system-x86_64",
            package: "qemu-system-x86",
            firmware: None,
            user: "qemu-x86_64",
            threads: Threads::One,
            machine: &["-machine", "pc", "-cpu", "max"],
            console: "ttyS0",
            channel: &["-serial", "chardev:channel"],
            channel_tty: "ttyS1",
            channel_module: None,
            append: "",
            image: Image::Vmlinuz,
        },
    },
    Arch {
        name: "arm64",
        config: &["CONFIG_ARM64=y"],
        kernel_arch: "arm64",
        srcarch: "arm64",
        debian: "arm64",
        flavour: "arm64",
        triple: "aarch64-linux-gnu",
        rust_target: "aarch64-unknown-none-softfloat",
        machine: "aarch64",
        gcc_package: Some("gcc-aarch64-linux-gnu"),
        kernels: &[&DEBIAN_6_1, &DEBIAN_6_12],
        release: &BOOKWORM,
        reached: Some(Stage::PatchSites),
        repository: None,
        facts: Facts::of::<Arm64>(),
        room: Ok(Room {
            enough: (7, 6),
            against: |first, second| {
                (first <= second)
                    .then_some("of N NOPs M are before the function: N has to be more than M, as in 7,6")
            },
        }),
        page_tables: Some(mmu::ARM64),
        hardening: Some(hardening::ARM64),
        qemu: Qemu {
            binary: "qemu-system-aarch64",
            package: "qemu-system-arm",
            firmware: None,
            user: "qemu-aarch64",
            threads: Threads::One,
            machine: &["-machine", "virt,gic-version=3", "-cpu", "cortex-a57"],
            console: "ttyAMA0",
            // The machine's second UART is only in newer QEMUs.
            channel: &["-device", "pci-serial,chardev=channel"],
            channel_tty: "ttyS0",
            channel_module: None,
            append: "",
            image: Image::Vmlinuz,
        },
    },
    Arch {
        name: "ppc64",
        config: &["CONFIG_PPC64=y", "CONFIG_CPU_LITTLE_ENDIAN=y"],
        kernel_arch: "powerpc",
        srcarch: "powerpc",
        debian: "ppc64el",
        flavour: "powerpc64le",
        triple: "powerpc64le-linux-gnu",
        rust_target: "powerpc64le-unknown-linux-gnu",
        machine: "ppc64le",
        gcc_package: Some("gcc-powerpc64le-linux-gnu"),
        kernels: &[&DEBIAN_6_1, &DEBIAN_6_12],
        release: &BOOKWORM,
        reached: Some(Stage::PatchSites),
        repository: None,
        facts: Facts::of::<Ppc64>(),
        room: Err(
            "gcc for ppc64 leaves no room at a function's entry that a branch could go to (it spoils the TOC pointer, gcc bug \
             99888); its functions are patched through ftrace",
        ),
        page_tables: Some(mmu::PPC64),
        hardening: Some(hardening::PPC64),
        qemu: Qemu {
            binary: "qemu-system-ppc64",
            package: "qemu-system-ppc",
            firmware: None,
            user: "qemu-ppc64le",
            threads: Threads::One,
            // The virtual open firmware boots in a third of SLOF's time. It leaves the NVRAM as it finds it, and the kernel
            // warns of an empty one: a variable in it gives it a format.
            machine: &[
                "-machine",
                "pseries,cap-htm=off,cap-ccf-assist=off,x-vof=on",
                "-prom-env",
                "auto-boot?=true",
                "-cpu",
                "power9",
            ],
            console: "hvc0",
            channel: &["-serial", "chardev:channel"],
            channel_tty: "hvc1",
            channel_module: None,
            append: "",
            image: Image::Vmlinux,
        },
    },
    Arch {
        name: "s390",
        config: &["CONFIG_S390=y", "CONFIG_64BIT=y"],
        kernel_arch: "s390",
        srcarch: "s390",
        debian: "s390x",
        flavour: "s390x",
        triple: "s390x-linux-gnu",
        rust_target: "s390x-unknown-none-softfloat",
        machine: "s390x",
        gcc_package: Some("gcc-s390x-linux-gnu"),
        kernels: &[&DEBIAN_6_1, &DEBIAN_6_12],
        release: &BOOKWORM,
        reached: Some(Stage::PatchSites),
        repository: None,
        facts: Facts::of::<S390>(),
        room: Ok(Room { enough: (16, 3), against: |_, _| None }),
        page_tables: Some(mmu::S390),
        hardening: Some(hardening::S390),
        qemu: Qemu {
            binary: "qemu-system-s390x",
            package: "qemu-system-misc",
            firmware: None,
            user: "qemu-s390x",
            // With counted instructions the CPUs take short turns. Else each has QEMU's one thread for 100 ms, even while it waits
            // for the others in a loop, since what yields here (diag 0x44) does not end a turn: stopping the machine took a second.
            threads: Threads::Counted,
            machine: &["-machine", "s390-ccw-virtio", "-cpu", "max"],
            console: "ttysclp0",
            // The machine has one SCLP console, so the second terminal is a virtio one.
            channel: &["-device", "virtio-serial-ccw", "-device", "virtconsole,chardev=channel"],
            channel_tty: "hvc0",
            channel_module: Some("virtio_console"),
            append: "",
            image: Image::Vmlinuz,
        },
    },
    Arch {
        name: "riscv64",
        config: &["CONFIG_RISCV=y", "CONFIG_64BIT=y"],
        kernel_arch: "riscv",
        srcarch: "riscv",
        debian: "riscv64",
        flavour: "riscv64",
        triple: "riscv64-linux-gnu",
        rust_target: "riscv64imac-unknown-none-elf",
        machine: "riscv64",
        gcc_package: Some("gcc-riscv64-linux-gnu"),
        kernels: &[&DEBIAN_6_12],
        release: &TRIXIE,
        reached: Some(Stage::PatchSites),
        repository: None,
        facts: Facts::of::<Riscv64>(),
        room: Ok(Room {
            enough: (7, 6),
            against: |first, second| {
                (first <= second)
                    .then_some("of N NOPs M are before the function: N has to be more than M, as in 7,6")
            },
        }),
        page_tables: Some(mmu::RISCV64),
        hardening: Some(hardening::RISCV64),
        qemu: Qemu {
            binary: "qemu-system-riscv64",
            package: "qemu-system-misc",
            firmware: Some(("/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin", "opensbi")),
            user: "qemu-riscv64",
            // With one thread each CPU has it for 100 ms, even while it waits for the others in a loop, since what yields here
            // (`pause`) does not end a turn: stopping a machine of four CPUs took seconds. Counted instructions, as on s390, are no
            // way out: a guest did not boot in three minutes (QEMU 7.2). The kernel writes sites with the machine stopped
            // (arch_ftrace_update_code in arch/riscv/kernel/ftrace.c).
            threads: Threads::Each,
            machine: &["-machine", "virt", "-cpu", "rv64"],
            console: "ttyS0",
            channel: &["-device", "pci-serial,chardev=channel"],
            channel_tty: "ttyS1",
            channel_module: None,
            append: "",
            image: Image::Vmlinux,
        },
    },
];

/// [`ARCHES`], behind the one that this program registered.
static ALL: OnceLock<Vec<&'static Arch>> = OnceLock::new();

/// Every architecture that this program knows: the one that it has registered, and those of this workspace.
pub fn arches() -> &'static [&'static Arch] {
    ALL.get_or_init(|| ARCHES.iter().collect())
}

/// Adds the architecture of another repository, which the program works on: what it records is of this one.
///
/// # Errors
///
/// An architecture of this workspace has the name, one is registered already, or [`arches`] has been asked before: whoever asked
/// knows nothing of this one.
pub fn register(arch: &'static Arch) -> Result<(), Failure> {
    let refuse = |why: &str| Failure::Usage(format!("the architecture {arch} cannot be registered: {why}"));
    if ARCHES.iter().any(|other| other == arch) {
        return Err(refuse("the SDK has one of that name; give it another"));
    }
    if arch.repository.is_none() {
        return Err(refuse("its entry does not say where its repository is; expected `repository: Some(…)`"));
    }
    let all = std::iter::once(arch).chain(ARCHES).collect();
    ALL.set(all).map_err(|_| refuse("expected one, and before anything else is asked of architectures"))
}

/// The architectures that results are recorded of in [`repository`].
pub fn recorded() -> &'static [&'static Arch] {
    let all = arches();
    if all.iter().any(|arch| arch.repository.is_some()) { &all[..1] } else { all }
}

/// The root of the repository that this program works on: that of the registered architecture, or this workspace.
pub fn repository() -> &'static Path {
    recorded().first().and_then(|arch| arch.repository).map_or(sdk(), Path::new)
}

/// The root of this workspace.
pub fn sdk() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

impl Arch {
    /// Looks an architecture up by the name that `--arch` takes.
    pub fn by_name(name: &str) -> Option<&'static Arch> {
        arches().iter().copied().find(|arch| arch.name == name)
    }

    /// Looks an architecture up by the ELF machine of its modules. There may be two: then it is the registered one.
    pub fn by_machine(machine: u16) -> Option<&'static Arch> {
        arches().iter().copied().find(|arch| arch.facts.elf_machine == machine)
    }

    /// The architectures of which these facts are stated.
    pub fn stating(facts: &[Fact]) -> impl Iterator<Item = &'static Arch> {
        arches().iter().copied().filter(|arch| facts.iter().all(|fact| arch.states(*fact)))
    }

    /// The directory with what C, make and cargo are told of it for `klp.ko`, whose sources are in `kmod`.
    pub fn kmod_dir(&self, kmod: &Path) -> PathBuf {
        match self.repository {
            Some(root) => Path::new(root).join("kmod"),
            None => kmod.join("arch").join(self.srcarch),
        }
    }

    /// Whether a fact is stated.
    pub fn states(&self, fact: Fact) -> bool {
        !self.facts.unstated.contains(&fact)
    }

    /// The prefix of the cross tools (`CROSS_COMPILE`), trailing dash included.
    pub fn cross_compile(&self) -> String {
        format!("{}-", self.triple)
    }
}

impl PartialEq for Arch {
    fn eq(&self, other: &Arch) -> bool {
        self.name == other.name
    }
}

impl Eq for Arch {}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_registered_behind_the_back_of_who_has_asked() {
        let first = arches()[0];
        let refused = |name, repository| {
            let arch = Box::leak(Box::new(Arch { name, repository, ..first.clone() }));
            register(arch).expect_err("refused").to_string()
        };
        assert!(refused(first.name, Some("/r")).contains("the SDK has one of that name"));
        assert!(refused("demo64", None).contains("expected `repository: Some(…)`"));
        assert!(refused("demo64", Some("/r")).contains("before anything else is asked"));
        assert!(Arch::by_name("demo64").is_none());
        assert_eq!((recorded().len(), repository()), (ARCHES.len(), sdk()));
    }

    #[test]
    fn what_c_and_make_are_told_is_in_the_architectures_own_repository() {
        let mut arch = arches()[0].clone();
        let sdks = Path::new("/sdk/kmod/arch").join(arch.srcarch);
        assert_eq!(arch.kmod_dir(Path::new("/sdk/kmod")), sdks);
        arch.repository = Some("/r");
        assert_eq!(arch.kmod_dir(Path::new("/sdk/kmod")), Path::new("/r/kmod"));
    }
}
