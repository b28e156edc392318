# SPDX-License-Identifier: GPL-2.0-only OR MIT
# How a crate becomes an object of a kernel module: $(obj)/klp_rust.o
#
# In: KLP_KMOD and what arch.mk sets; klp-crate (the package's name), klp-crate-dir (where its Cargo.toml is); klp-crate-root: a patch's crate
# root, for which the Cargo.toml is written here.
#
# Flags follow the target's .config: what gcc is told by arch/*/Makefile for a kernel configured so, rustc is told by the
# architecture's build.mk.

CARGO ?= cargo

klp-target := $(or $(klp-arch-target),$(error no Rust target is known for the architecture '$(SRCARCH)': expected klp-arch-target in $(klp-arch)/build.mk))
klp-rustflags := --cfg=klp_module -Crelocation-model=static -Zunstable-options -Cpanic=immediate-abort $(klp-arch-rustflags)
KLP_RUST_TARGET_DIR ?= $(abspath $(obj))/rust-target

ifneq ($(klp-arch-features),)
klp-target-json := $(KLP_RUST_TARGET_DIR)/$(klp-target)-hardened.json
klp-target-args := --target $(klp-target-json) $(if $(shell env -u MAKEFLAGS -u MFLAGS RUSTC_BOOTSTRAP=1 $(CARGO) -Zhelp 2>/dev/null | grep json-target-spec),-Zjson-target-spec)
$(klp-target-json): $(KLP_KMOD)/rust.mk $(klp-arch)/build.mk
	@mkdir -p $(@D)
	@env -u MAKEFLAGS -u MFLAGS RUSTC_BOOTSTRAP=1 rustc -Zunstable-options --print target-spec-json --target $(klp-target) | \
		sed '/"features":/d; s/^{$$/{\n  "features": "$(klp-arch-features)",/' > $@.tmp.$$$$ && mv $@.tmp.$$$$ $@
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
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(klp-rustflags)" $(klp-arch-wrapper) \
	$(CARGO) rustc --quiet --manifest-path $(klp-cargo-toml) --lib --crate-type staticlib --profile kernel \
	$(klp-target-args) --target-dir $(KLP_RUST_TARGET_DIR) -Zbuild-std=core,compiler_builtins; \
	cmp -s $(klp-cargo-lib) $@ || cp $(klp-cargo-lib) $@'

$(klp-staticlib): $(klp-cargo-toml) $(klp-target-json) FORCE
	$(call cmd,klp_cargo)

# One relocatable object with what the C side and the module loader call, and what that reaches. Where the kernel
# validates its objects with objtool it validates this one too, and writes its ORC. memcpy and the like are the
# kernel's, so the compiler's own are left out.
klp-roots := $(if $(klp-crate-root),init_module __klp_modinfo __klp_module_entry,$(shell sed -n 's/.*\b\(extern "C" fn\|static\) \(klp_rs_[a-z_]*\).*/\2/p' $(KLP_KMOD)/src/*.rs))
quiet_cmd_klp_rust = LD [M]  $@
      cmd_klp_rust = cp $(klp-staticlib) $@.a && $(AR) d $@.a $$($(AR) t $@.a | grep ^compiler_builtins) && \
	$(LD) $(KBUILD_LDFLAGS) -r --gc-sections $(addprefix -u ,$(klp-roots)) -o $@.tmp $@.a && \
	$(OBJCOPY) --wildcard $(foreach section,.eh_frame .note.GNU-stack .comment .llvm* __patchable_function_entries,\
		--remove-section='$(section)' --remove-section='.rela$(section)') \
		$(addprefix --keep-global-symbol=,$(klp-roots) cleanup_module) $@.tmp $@ && \
	rm -f $@.tmp $@.a$(if $(cmd_objtool),$(cmd_objtool) --link) $(klp-arch-check)

$(obj)/klp_rust.o: $(klp-staticlib) FORCE
	$(call if_changed,klp_rust)
targets += klp_rust.o
