// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H9: what the check of module code finds in code of the cross compiler.

use klp_host::Arch;

use super::{ensure, ensure_eq};
use crate::host::module_code::{Scan, scan};
use crate::host::toolchain::Toolchain;
use crate::host::{Case, Check, Description};

const SOURCE: &str = "core-api/floating-point.rst; KBUILD_CFLAGS of arch/*/Makefile";

pub(super) fn cases(d: &'static Description) -> Vec<Case> {
    vec![
        Case::new("H9.1", "module.floating_point_is_found", SOURCE, float),
        Case::new("H9.2", "module.vectors_are_found", SOURCE, vectors)
            .only_if(d.vectors.is_some(), "gcc makes no code with vector registers"),
        Case::new("H9.3", "module.general_registers_are_no_finding", SOURCE, clean),
        Case::new("H9.4", "module.code_of_another_architecture_is_refused", SOURCE, foreign),
    ]
}

const CODE: &str = r"
long plain(long a, long b) { return a * b + 3; }
#ifdef FLOAT
double scale(double a, double b) { return a * b + 1.5; }
#endif
#ifdef VECTOR
void add(int *restrict a, const int *restrict b) { for (int i = 0; i < 1024; i++) a[i] += b[i]; }
#endif
struct pair { long a[8]; };
extern void take(struct pair *);
long copy(const struct pair *from, int n)
{
	struct pair p = *from;
	for (int i = 0; i < n; i++)
		take(&p);
	switch (n) { case 1: return p.a[1] / n; case 2: return p.a[2] << n; case 3: return p.a[0]; }
	return p.a[3];
}
";

fn compile(d: &Description, options: &[&str]) -> Result<Scan, String> {
    let tools = Toolchain::new(d)?;
    let path = tools.compile("code", CODE, options)?;
    scan(&path, d).map_err(|error| format!("{error:#}"))
}

fn finds(d: &Description, options: &[&str], symbol: &str) -> Check {
    let scan = compile(d, options)?;
    let found = scan.fpu.iter().any(|found| found.symbol == symbol && !found.registers.is_empty());
    ensure!(found, "nothing found in {symbol}(): {:?}", scan.fpu);
    let plain = scan.fpu.iter().find(|found| found.symbol == "plain");
    ensure!(plain.is_none(), "{plain:?} uses general registers only");
    Ok(())
}

fn float(d: &'static Description) -> Check {
    finds(d, &["-DFLOAT"], "scale")
}

fn vectors(d: &'static Description) -> Check {
    let options = [&["-DVECTOR", "-O3", "-fno-builtin"], d.vectors.unwrap_or_default()].concat();
    finds(d, &options, "add")
}

fn clean(d: &'static Description) -> Check {
    let scan = compile(d, d.no_fpu)?;
    let lines: Vec<String> = scan.fpu.iter().chain(&scan.unknown).map(ToString::to_string).collect();
    ensure_eq!(lines, Vec::<String>::new(), "found in code without floating point");
    ensure!(scan.insns > 20, "{} instructions", scan.insns);
    Ok(())
}

fn foreign(d: &'static Description) -> Check {
    let other = if d.name == "x86_64" { "s390" } else { "x86_64" };
    let other = Arch::by_name(other).ok_or("the host tools have lost an architecture")?;
    let path = Toolchain::of(other).and_then(|tools| {
        let path = tools.compile("code", CODE, &[])?;
        match scan(&path, d) {
            Ok(_) => Err(format!("code of {other} was scanned")),
            Err(error) => Ok(format!("{error:#}")),
        }
    })?;
    ensure!(path.contains(d.name) && path.contains("ELF machine"), "the message is: {path}");
    Ok(())
}
