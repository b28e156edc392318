// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The names one architecture goes by, in one table.
//!
//! The kernel, Debian, the GNU toolchain, QEMU and rustc each have their own name for the same machine. Everything on
//! the host side takes the name it needs from [`ARCHES`]; nothing derives one name from another.

use std::fmt;

/// One architecture: its names, and how QEMU runs a stock kernel of it.
#[derive(Debug, PartialEq, Eq)]
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
    /// The Debian package of the cross compiler; `None` where the host's own compiler serves.
    pub gcc_package: Option<&'static str>,
    /// The ELF machine (`e_machine`) of its modules.
    pub elf_machine: u16,
    /// How QEMU runs it.
    pub qemu: Qemu,
}

/// How QEMU runs an architecture's stock kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The emulator binary.
    pub binary: &'static str,
    /// The Debian package that ships it.
    pub package: &'static str,
    /// The emulator of user programs.
    pub user: &'static str,
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

/// The kind of kernel image that a machine boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// The compressed `vmlinuz-VERSION`.
    Vmlinuz,
    /// The ELF `vmlinux-VERSION`.
    Vmlinux,
}

/// Every architecture the SDK knows.
pub static ARCHES: &[Arch] = &[
    Arch {
        name: "x86_64",
        config: &["CONFIG_X86_64=y"],
        kernel_arch: "x86_64",
        srcarch: "x86",
        debian: "amd64",
        flavour: "amd64",
        triple: "x86_64-linux-gnu",
        rust_target: "x86_64-unknown-none",
        gcc_package: None,
        elf_machine: 62,
        qemu: Qemu {
            binary: "qemu-system-x86_64",
            package: "qemu-system-x86",
            user: "qemu-x86_64",
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
        gcc_package: Some("gcc-aarch64-linux-gnu"),
        elf_machine: 183,
        qemu: Qemu {
            binary: "qemu-system-aarch64",
            package: "qemu-system-arm",
            user: "qemu-aarch64",
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
        gcc_package: Some("gcc-powerpc64le-linux-gnu"),
        elf_machine: 21,
        qemu: Qemu {
            binary: "qemu-system-ppc64",
            package: "qemu-system-ppc",
            user: "qemu-ppc64le",
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
        gcc_package: Some("gcc-s390x-linux-gnu"),
        elf_machine: 22,
        qemu: Qemu {
            binary: "qemu-system-s390x",
            package: "qemu-system-misc",
            user: "qemu-s390x",
            // With counted instructions the CPUs take short turns. Else each has QEMU's one thread for 100 ms, even while it waits
            // for the others in a loop, since what yields here (diag 0x44) does not end a turn: stopping the machine took a second.
            machine: &["-machine", "s390-ccw-virtio", "-cpu", "max", "-icount", "shift=2,sleep=on"],
            console: "ttysclp0",
            // The machine has one SCLP console, so the second terminal is a virtio one.
            channel: &["-device", "virtio-serial-ccw", "-device", "virtconsole,chardev=channel"],
            channel_tty: "hvc0",
            channel_module: Some("virtio_console"),
            append: "",
            image: Image::Vmlinuz,
        },
    },
];

impl Arch {
    /// Looks an architecture up by the name that `--arch` takes.
    pub fn by_name(name: &str) -> Option<&'static Arch> {
        ARCHES.iter().find(|arch| arch.name == name)
    }

    /// The prefix of the cross tools (`CROSS_COMPILE`), trailing dash included.
    pub fn cross_compile(&self) -> String {
        format!("{}-", self.triple)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
