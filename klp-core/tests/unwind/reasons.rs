// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What users read when a stack cannot be walked.
//!
//! To bless changed texts: `INSTA_UPDATE=always cargo test -p klp-core --test unwind`.

use std::fmt::Write;

use klp_core::unwind::{ReturnTrampoline, Unreliable};

const ADDR: u64 = 0xffff_ffff_812a_4c10;

fn all() -> Vec<Unreliable> {
    let keepers = ReturnTrampoline::ALL;
    let mut all = vec![
        Unreliable::Running,
        Unreliable::NoStack,
        Unreliable::CouldNotReadStack(ADDR),
        Unreliable::DidNotAdvance(ADDR),
        Unreliable::WrongStack(ADDR),
        Unreliable::Misaligned(ADDR),
        Unreliable::NotText(ADDR),
        Unreliable::NotAfterCall(ADDR),
        Unreliable::Exception(ADDR),
        Unreliable::CallerInRegister(ADDR),
        Unreliable::Unwalkable(ADDR),
        Unreliable::NoUnwindInfo(ADDR),
        Unreliable::NotTheBottom(ADDR),
        Unreliable::TooManyFrames(ADDR),
    ];
    all.extend(keepers.map(Unreliable::ReturnLost));
    all.extend(keepers.map(Unreliable::ReturnLeft));
    all
}

/// A number for each reason. A new one does not compile here: give it the next number and an example in [`all`].
const fn reason(reason: &Unreliable) -> usize {
    match reason {
        Unreliable::Running => 0,
        Unreliable::NoStack => 1,
        Unreliable::CouldNotReadStack(_) => 2,
        Unreliable::DidNotAdvance(_) => 3,
        Unreliable::WrongStack(_) => 4,
        Unreliable::Misaligned(_) => 5,
        Unreliable::NotText(_) => 6,
        Unreliable::NotAfterCall(_) => 7,
        Unreliable::Exception(_) => 8,
        Unreliable::CallerInRegister(_) => 9,
        Unreliable::Unwalkable(_) => 10,
        Unreliable::NoUnwindInfo(_) => 11,
        Unreliable::NotTheBottom(_) => 12,
        Unreliable::ReturnLost(_) => 13,
        Unreliable::ReturnLeft(_) => 14,
        Unreliable::TooManyFrames(_) => 15,
    }
}

const REASONS: usize = 16;

#[test]
fn every_reason_has_its_name_its_address_and_its_text() {
    let all = all();
    for number in 0..REASONS {
        assert!(all.iter().any(|example| reason(example) == number), "no example of reason {number}");
    }
    let mut texts = String::new();
    for example in &all {
        let addr = example.addr().map_or("-".to_owned(), |addr| format!("{addr:#x}"));
        let unexpected = if example.is_unexpected() { "unexpected" } else { "expected" };
        writeln!(texts, "{} | {addr} | {unexpected} | {example}", example.name()).expect("a string");
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn a_name_belongs_to_one_reason() {
    for a in &all() {
        for b in &all() {
            assert_eq!(a.name() == b.name(), reason(a) == reason(b), "{a:?}, {b:?}");
        }
        assert!(a.name().bytes().all(|c| c.is_ascii_lowercase() || c == b'-'), "{}", a.name());
    }
}
