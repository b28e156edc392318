    Arch {
        name: "__name__",
        // Fact::Names
        config: &[],
        kernel_arch: "",
        srcarch: "",
        debian: "",
        flavour: "",
        triple: "",
        rust_target: "",
        machine: "",
        gcc_package: None,
        // Fact::Kernels
        kernels: &[],
        release: &BOOKWORM,
        reached: None,
        facts: Facts::of::<__Type__>(),
        // Fact::Room
        room: patchable::UNSTATED,
        // Fact::RecordedStacks
        page_tables: None,
        hardening: None,
        // Fact::Qemu
        qemu: Qemu {
            binary: "",
            package: "",
            firmware: None,
            user: "",
            threads: Threads::One,
            machine: &[],
            console: "",
            channel: &[],
            channel_tty: "",
            channel_module: None,
            append: "",
            image: Image::Vmlinuz,
        },
    },
