// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stack walks over memory that is corrupted at random.
//!
//! An input picks one of the host suite's stacks and changes some of its words, or what else a walk starts from. Whatever
//! they are changed to, a walk neither panics nor hangs, reads nothing off the stacks, has a bounded number of frames,
//! and is reliable only if its frames are a whole chain by what the words say, as other code reads them
//! (`damage::check`). After a change of one word, no frame is missing in a reliable list, unless that word is a valid one
//! (`damage::check_word`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::env;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use klp_conformance::arch::{Entry, architectures};
use klp_conformance::host::damage::values;
use klp_conformance::host::stack::Sample;
use klp_core::Addr;
use klp_core::unwind::{Cursor, Memory, ReturnTrampoline, Saved, Start, UnwindTable};

/// What is done to a stack.
#[derive(Arbitrary, Debug)]
pub struct Input {
    /// Which stack.
    kind: u8,
    /// How many calls deep, of a few choices.
    depth: u8,
    changes: Vec<Change>,
}

#[derive(Arbitrary, Debug)]
enum Change {
    /// A word that a walk of the whole stack reads.
    Read(u8, Value),
    /// Any word of the stacks.
    Any(u16, Value),
    /// The bottom is elsewhere.
    Bottom(i16),
    /// Registers, as they were saved.
    Registers(Value, Value, Value),
    /// Whoever keeps return addresses has one more, or one less.
    Kept(u8, Option<u16>),
    /// The unwind table has another entry.
    Entry(u16, [u8; UnwindTable::ENTRY_SIZE]),
}

#[derive(Arbitrary, Debug)]
enum Value {
    /// One that a word of its kind might have.
    Likely(u16),
    /// Near to what it was.
    Near(i8),
    /// A word from elsewhere on the stacks.
    Copy(u16),
    Raw(u64),
}

/// A stack, the words that a walk reads, likely values.
struct Seed {
    sample: Sample,
    read: Vec<Addr>,
    values: Vec<u64>,
}

thread_local! {
    static SEEDS: RefCell<HashMap<(u8, u8), &'static Seed>> = RefCell::default();
}

const DEPTHS: [usize; 4] = [1, 2, 4, 8];

/// The architecture whose stacks they are.
static ARCH: LazyLock<&Entry> = LazyLock::new(|| {
    let name = env::var("KLP_ARCH").unwrap_or_default();
    Entry::by_name(&name).unwrap_or_else(|| {
        let names: Vec<&str> = architectures().iter().map(|entry| entry.name).collect();
        panic!("KLP_ARCH is '{name}': expected one of {}", names.join(", "))
    })
});

fn seed(input: &Input) -> &'static Seed {
    let kinds = ARCH.description.stacks.kinds;
    let (kind, depth) = (usize::from(input.kind) % kinds.len(), usize::from(input.depth) % DEPTHS.len());
    let key = (kind as u8, depth as u8);
    SEEDS.with_borrow_mut(|seeds| {
        *seeds.entry(key).or_insert_with(|| {
            let sample = (kinds[kind].draw)(DEPTHS[depth]);
            let read = (ARCH.walks.words_read)(&sample).into_iter().collect();
            let values = values(&sample);
            Box::leak(Box::new(Seed { sample, read, values }))
        })
    })
}

fn any_word(sample: &Sample, number: u16) -> Addr {
    let stacks = &sample.image.stacks;
    let stack = stacks[usize::from(number) % stacks.len()];
    stack.start + 8 * (u64::from(number) / stacks.len() as u64 % (stack.size / 8))
}

impl Value {
    fn of(&self, seed: &Seed, old: u64) -> u64 {
        match *self {
            Value::Likely(i) => seed.values[usize::from(i) % seed.values.len()],
            Value::Near(distance) => old.wrapping_add_signed(distance.into()),
            Value::Copy(i) => seed.sample.image.word(any_word(&seed.sample, i)).unwrap_or_default(),
            Value::Raw(value) => value,
        }
    }
}

/// Runs one input.
///
/// # Panics
///
/// If something does not hold that must.
pub fn run(input: &Input) {
    let seed = seed(input);
    let Entry { name, description, walks, .. } = *ARCH;
    let stacks = &description.stacks;
    let mut image = seed.sample.image.clone();
    let mut words = Vec::new();
    let mut tables = false;
    for change in &input.changes {
        let at = match *change {
            Change::Read(i, _) if !seed.read.is_empty() => seed.read[usize::from(i) % seed.read.len()],
            Change::Any(i, _) => any_word(&seed.sample, i),
            _ => 0,
        };
        match change {
            Change::Read(_, value) | Change::Any(_, value) => {
                let Some(old) = image.word(at) else { continue };
                let word = value.of(seed, old);
                image.set(at, word);
                words.push((at, word));
            }
            Change::Bottom(distance) => image.bottom = image.bottom.wrapping_add_signed((*distance).into()),
            Change::Registers(sp, pc, fp) => {
                image.start = match image.start {
                    Start::SwitchedOut(old) => Start::SwitchedOut(Saved {
                        sp: sp.of(seed, old.sp),
                        pc: pc.of(seed, old.pc),
                        fp: fp.of(seed, old.fp),
                    }),
                    Start::At(old) => Start::At(Cursor {
                        sp: sp.of(seed, old.sp),
                        pc: pc.of(seed, old.pc),
                        fp: fp.of(seed, old.fp),
                        exact: old.exact,
                    }),
                }
            }
            Change::Kept(keeper, value) => {
                let kept = &mut image.kept[usize::from(*keeper) % ReturnTrampoline::ALL.len()];
                match value {
                    Some(i) => kept.push(seed.values[usize::from(*i) % seed.values.len()]),
                    None => drop(kept.pop()),
                }
            }
            Change::Entry(i, entry) => {
                tables = true;
                image.table.set_entry((*i).into(), *entry);
            }
        }
    }
    let result = if tables { (walks.survive)(&image) } else { (walks.check)(stacks, &image) };
    if let Err(what) = result {
        panic!("{name}: {what}");
    }
    if let ([(at, word)], 1) = (&words[..], input.changes.len())
        && let Err(what) = (walks.check_word)(stacks, &seed.sample, *at, *word)
    {
        panic!("{name}: {what}");
    }
}
