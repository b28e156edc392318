// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The table of relocation types in `docs/src/relocations.md`: what became of each one here, in and out of range.

use std::fmt::Write as _;
use std::path::Path;

use klp_core::Architecture;
use klp_core::reloc::{ByWay, RelocError};
use klp_core::slots::SlotArea;

use super::{Object1, assemble, given, object, symbol};
use crate::host::description::{Limits, RelocSample, bytes};
use crate::host::toolchain::Toolchain;
use crate::host::{Check, Description};
use crate::table;

/// What becomes of a relocation with this value.
fn outcome<A: Architecture>(d: &Description, object: &Object1<'_>, value: i64) -> String {
    let base = d.text[0] & !0xffff;
    let mut targets = [None; 1];
    let mut area = SlotArea::<A>::new(base + 0x1000, &mut targets).expect("aligned");
    let mut text = [&object.text[..], &bytes(d.slot.behind_call[0])].concat();
    let symbol = given(object.sample.value, symbol(object, base, value), base);
    let relocation = object.relocation::<A>(base, symbol);
    let code = &mut text[object.offset..];
    // A reference to a literal is one already: its value is where that is.
    let applied = match A::by_way(relocation.r_type) {
        ByWay::Literal => A::relocate(&relocation, code).map(|_| None),
        _ => area.relocate(&relocation, false, code).map(|applied| applied.slot),
    };
    match applied {
        Ok(None) => "applied".to_owned(),
        Ok(Some(_)) => "through a slot".to_owned(),
        Err(RelocError::Overflow { bits, .. }) => format!("refused: does not fit into {bits} bits"),
        Err(RelocError::Misaligned(_)) => "refused: not aligned".to_owned(),
        Err(RelocError::TailCall) => "refused: tail call".to_owned(),
        Err(error) => format!("refused: {error:?}"),
    }
}

/// One column: what becomes of these values; nothing if there are none.
fn column<A: Architecture>(d: &Description, object: &Object1<'_>, values: &[i64]) -> String {
    let mut outcomes: Vec<String> = values.iter().map(|value| outcome::<A>(d, object, *value)).collect();
    outcomes.dedup();
    if outcomes.is_empty() { "–".to_owned() } else { outcomes.join("; ") }
}

fn row<A: Architecture>(
    tools: &Toolchain,
    d: &Description,
    sample: &RelocSample,
    by_gcc: &[u32],
) -> Result<String, String> {
    let object = assemble(tools, d, sample, 0)?;
    let (inside, outside, misaligned) = match sample.limits {
        Limits::None => (sample.values.to_vec(), vec![], vec![]),
        Limits::Step(step) => (vec![0, step], vec![], vec![step / 2]),
        Limits::Range { min, max, step } => {
            (vec![min, max], vec![min - step, max + step], if step > 1 { vec![step / 2] } else { vec![] })
        }
    };
    let place = sample.code.rsplit("place: ").next().unwrap_or_default();
    let place = place.split("//").next().unwrap_or_default().trim();
    let place = if sample.code.contains(".byte") {
        format!("`{}`", sample.code.replace('\n', "; "))
    } else {
        format!("`{}`", place.replace('\n', "; "))
    };
    let place = place.replace("place: ", "");
    let gcc = if by_gcc.contains(&object.r_type) { "gcc" } else { "" };
    Ok(format!(
        "| `{}` | {gcc} | {place} | {} | {} | {} |\n",
        sample.name,
        column::<A>(d, &object, &inside),
        column::<A>(d, &object, &outside),
        column::<A>(d, &object, &misaligned)
    ))
}

fn made<A: Architecture>(d: &'static Description) -> Result<String, String> {
    let tools = Toolchain::new(d)?;
    let by_gcc: Vec<u32> = object::types(d)?.into_iter().collect();
    let mut text = String::from(
        "| type | emitted by | place | in range | out of range | not aligned |\n|---|---|---|---|---|---|\n",
    );
    for sample in d.relocations {
        text += &row::<A>(&tools, d, sample, &by_gcc)?;
    }
    for marker in d.markers {
        writeln!(text, "| `{marker}` | gcc | a marker | nothing to do | – | – |").expect("a string");
    }
    Ok(text)
}

/// The page has this architecture's table, as it is now. With `INSTA_UPDATE=always` it is written, as golden files are.
pub(super) fn documented<A: Architecture>(d: &'static Description) -> Check {
    let table = made::<A>(d)?;
    let start = format!("<!-- table: {} -->\n", d.name);
    if table::is_in(Path::new(d.files.relocations), &start, "<!-- end of table -->\n", &table)? {
        return Ok(());
    }
    Err(format!(
        "the table of {} in {} is not what was found:\n{table}\nto write it: {}",
        d.name,
        d.files.relocations,
        d.files.approve(d.name, "table")
    ))
}
