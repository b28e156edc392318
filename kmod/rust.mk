# SPDX-License-Identifier: GPL-2.0-only OR MIT
# How a crate becomes an object of a kernel module: $(obj)/klp_rust.o
#
# In: KLP_KMOD, klp-crate (the package's name), klp-crate-dir (where its Cargo.toml is); klp-crate-root: a patch's crate
# root, for which the Cargo.toml is written here.
#
# Flags follow the target's .config: what gcc is told by arch/*/Makefile for a kernel configured so, rustc is told here.

CARGO ?= cargo

klp-target-x86 := x86_64-unknown-none
klp-target-arm64 := aarch64-unknown-none-softfloat
klp-target-powerpc := powerpc64le-unknown-linux-gnu
klp-target-s390 := s390x-unknown-none-softfloat
klp-target-riscv := riscv64imac-unknown-none-elf
klp-target := $(or $(klp-target-$(SRCARCH)),$(error no Rust target is known for the architecture '$(SRCARCH)'))

klp-rustflags := --cfg=klp_module -Crelocation-model=static -Zunstable-options -Cpanic=immediate-abort

# x86-64 psABI §3.5.1, "kernel code model"; the red zone is clobbered by interrupts. Floating point is off in the target.
klp-rustflags-x86 := -Ccode-model=kernel -Cno-redzone=y -Zdirect-access-external-data=y -Zplt=y
ifneq ($(CONFIG_MITIGATION_RETPOLINE)$(CONFIG_RETPOLINE),)
klp-rustflags-x86 += -Zretpoline-external-thunk=y -Zindirect-branch-cs-prefix=y -Cjump-tables=n
endif
ifneq ($(CONFIG_MITIGATION_RETHUNK)$(CONFIG_RETHUNK),)
klp-rustflags-x86 += -Zfunction-return=thunk-extern
endif
ifneq ($(CONFIG_MITIGATION_SLS)$(CONFIG_SLS),)
# LLVM features that rustc has no option for: they need a target description of their own, which lists all of them.
klp-target-features := -mmx,-sse,-sse2,-sse3,-ssse3,-sse4.1,-sse4.2,-avx,-avx2,+soft-float,+harden-sls-ijmp,+harden-sls-ret
endif
ifneq ($(CONFIG_X86_KERNEL_IBT),)
klp-rustflags-x86 += -Zcf-protection=branch -Cjump-tables=n
endif
ifneq ($(CONFIG_FUNCTION_PADDING_BYTES),)
ifneq ($(CONFIG_CALL_PADDING),)
klp-rustflags-x86 += -Zpatchable-function-entry=$(CONFIG_FUNCTION_PADDING_BYTES),$(CONFIG_FUNCTION_PADDING_BYTES)
endif
endif
ifneq ($(CONFIG_FRAME_POINTER),)
klp-rustflags-x86 += -Cforce-frame-pointers=y
endif

# Frame records everywhere (CONFIG_FRAME_POINTER is always on); AAPCS64 §6.4.6.
klp-rustflags-arm64 := -Cforce-frame-pointers=y
ifneq ($(CONFIG_ARM64_BTI_KERNEL),)
klp-rustflags-arm64 += -Zbranch-protection=bti,pac-ret
else ifneq ($(CONFIG_ARM64_PTR_AUTH_KERNEL),)
klp-rustflags-arm64 += -Zbranch-protection=pac-ret
endif
ifneq ($(CONFIG_SHADOW_CALL_STACK),)
klp-rustflags-arm64 += -Zfixed-x18 -Zsanitizer=shadow-call-stack
endif

# No floating point, no vectors; the back chain is always there (ELFv2 ABI §2.2.3).
klp-rustflags-powerpc := -Ctarget-cpu=pwr8
ifeq ($(SRCARCH),powerpc)
klp-target-features := -altivec,-vsx,-hard-float
endif

# -msoft-float -mbackchain -mpacked-stack. As with SLS on x86, rustc has no options for the first two; for the third not even
# a feature, see rustc-packed-stack.
ifeq ($(SRCARCH),s390)
klp-target-features := +soft-float,-vector,+backchain
# As with gcc's -fPIC, the addresses of other objects' symbols are read from memory: vmlinux may be further away than LARL reaches.
klp-rustflags-s390 := --cfg=klp_packed_stack -Zdirect-access-external-data=n
klp-rustc-wrapper := RUSTC_WRAPPER=$(KLP_KMOD)/rustc-packed-stack
klp-check-frames = && $(OBJDUMP) -d $@ | $(AWK) -f $(KLP_KMOD)/packed-stack.awk
endif

# As -mcmodel=medany: a module lies within 2 GiB of itself and of vmlinux (psABI, "Code models"). Frame records as gcc's, one
# for every function.
klp-rustflags-riscv := -Ccode-model=medium -Cforce-frame-pointers=y

klp-rustflags += $(klp-rustflags-$(SRCARCH))
KLP_RUST_TARGET_DIR ?= $(abspath $(obj))/rust-target

ifneq ($(klp-target-features),)
klp-target-json := $(KLP_RUST_TARGET_DIR)/$(klp-target)-hardened.json
klp-target-args := --target $(klp-target-json) $(if $(shell env -u MAKEFLAGS -u MFLAGS RUSTC_BOOTSTRAP=1 $(CARGO) -Zhelp 2>/dev/null | grep json-target-spec),-Zjson-target-spec)
$(klp-target-json): $(KLP_KMOD)/rust.mk
	@mkdir -p $(@D)
	@env -u MAKEFLAGS -u MFLAGS RUSTC_BOOTSTRAP=1 rustc -Zunstable-options --print target-spec-json --target $(klp-target) | \
		sed '/"features":/d; s/^{$$/{\n  "features": "$(klp-target-features)",/' > $@.tmp.$$$$ && mv $@.tmp.$$$$ $@
else
klp-target-args := --target $(klp-target)
endif

ifneq ($(klp-crate-root),)
# A patch's package, which the compiled core and klp-patch are shared with.
klp-cargo-toml := $(klp-crate-dir)/Cargo.toml
$(klp-cargo-toml): $(klp-crate-root)
	@mkdir -p $(@D)
	@printf '%s\n' '[package]' 'name = "$(klp-crate)"' 'version = "0.0.0"' 'edition = "2024"' '[workspace]' \
		'[lib]' 'path = "$(klp-crate-root)"' '[dependencies]' 'klp-patch = { path = "$(KLP_KMOD)/patch" }' \
		'[profile.kernel]' 'inherits = "release"' 'opt-level = 2' 'panic = "abort"' 'lto = "fat"' \
		'codegen-units = 1' 'overflow-checks = true' > $@
else
klp-cargo-toml := $(klp-crate-dir)/Cargo.toml
endif

klp-staticlib := $(obj)/lib$(subst -,_,$(klp-crate)).a

klp-cargo-lib = $(KLP_RUST_TARGET_DIR)/$(basename $(notdir $(or $(klp-target-json),$(klp-target))))/kernel/$(@F)

# cargo knows what is out of date. Kernels share its directory, and with it the compiled core; its last step puts the
# library where every kernel's goes, hence the lock. RUSTC_BOOTSTRAP: core is built with the kernel's flags, which is
# unstable.
quiet_cmd_klp_cargo = CARGO [M] $@
      cmd_klp_cargo = mkdir -p $(KLP_RUST_TARGET_DIR) && flock $(KLP_RUST_TARGET_DIR)/.klp-lock sh -ec ' \
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(klp-rustflags)" $(klp-rustc-wrapper) \
	$(CARGO) rustc --quiet --manifest-path $(klp-cargo-toml) --lib --crate-type staticlib --profile kernel \
	$(klp-target-args) --target-dir $(KLP_RUST_TARGET_DIR) -Zbuild-std=core,compiler_builtins; \
	cmp -s $(klp-cargo-lib) $@ || cp $(klp-cargo-lib) $@'

$(klp-staticlib): $(klp-cargo-toml) $(klp-target-json) FORCE
	$(call cmd,klp_cargo)

# One relocatable object with what the C side and the module loader call, and what that reaches. Where the kernel
# validates its objects with objtool it validates this one too, and writes its ORC. memcpy and the like are the
# kernel's, so the compiler's own are left out.
klp-roots := $(if $(klp-crate-root),init_module __klp_modinfo __klp_module_entry,$(shell sed -n 's/.*\bextern "C" fn \(klp_rs_[a-z_]*\).*/\1/p' $(KLP_KMOD)/src/*.rs))
quiet_cmd_klp_rust = LD [M]  $@
      cmd_klp_rust = cp $(klp-staticlib) $@.a && $(AR) d $@.a $$($(AR) t $@.a | grep ^compiler_builtins) && \
	$(LD) $(KBUILD_LDFLAGS) -r --gc-sections $(addprefix -u ,$(klp-roots)) -o $@.tmp $@.a && \
	$(OBJCOPY) --wildcard $(foreach section,.eh_frame .note.GNU-stack .comment .llvm* __patchable_function_entries,\
		--remove-section='$(section)' --remove-section='.rela$(section)') \
		$(addprefix --keep-global-symbol=,$(klp-roots) cleanup_module) $@.tmp $@ && \
	rm -f $@.tmp $@.a$(if $(cmd_objtool),$(cmd_objtool) --link) $(klp-check-frames)

$(obj)/klp_rust.o: $(klp-staticlib) FORCE
	$(call if_changed,klp_rust)
targets += klp_rust.o
