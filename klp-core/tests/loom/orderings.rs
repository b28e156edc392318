// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What each memory ordering of the protocol is for, and which are stronger than any promise needs.

use std::panic::catch_unwind;

use klp_core::sync::{Weakened, weaken};

use crate::machine::Wrong;
use crate::scenarios::{self, check};

const REDIRECT: (&str, &str) = ("src/redirect.rs", include_str!("../../src/redirect.rs"));
const UNIVERSE: (&str, &str) = ("src/universe.rs", include_str!("../../src/universe.rs"));

/// A file, a function in it, and the access in that function.
type Place = ((&'static str, &'static str), &'static str, &'static str);

/// A model, with what is done wrong in it.
type Scenario = fn(Wrong);

/// Without these a promise is broken, as the scenario shows.
const NEEDED: &[(Place, Scenario)] = &[
    // Who finds a target finds what it reads initialised.
    ((REDIRECT, "settle", "self.target.store"), scenarios::immediate),
    ((REDIRECT, "target", "self.target.load"), scenarios::immediate),
    // Who finds the flag lowered finds the target; who finds it raised finds both.
    ((REDIRECT, "settle", "self.flags.fetch_and"), scenarios::hybrid),
    ((REDIRECT, "decide", "self.flags.fetch_or"), scenarios::disabled),
    ((REDIRECT, "target", "self.flags.load"), scenarios::hybrid),
    // Who finds a range's size finds its start.
    ((REDIRECT, "add_original_caller", "caller.size.store"), scenarios::original_callers),
    ((REDIRECT, "calls_original", "range.size.load"), scenarios::original_callers),
    // Who finds a table finds what is in it.
    ((UNIVERSE, "show", "self.first.store"), scenarios::nmi_on_growing),
    ((UNIVERSE, "first", "self.first.load"), scenarios::nmi_on_growing),
    // Who finds those elsewhere that are born later finds the others listed, and finds of a listed task where it is.
    ((UNIVERSE, "set_born", "slot.state.store"), scenarios::nmi_on_listing),
    ((UNIVERSE, "born", "slot.state.load"), scenarios::nmi_on_listing),
    ((UNIVERSE, "insert", "slot.task.store"), scenarios::nmi_on_listing),
    ((UNIVERSE, "find", "slot.task.load"), scenarios::nmi_on_listing),
];

/// All promises hold without these: what they order, a lock or a stop of the machine orders, too.
const SPARE: &[Place] = &[
    (REDIRECT, "decide", "self.in_universe"),
    (REDIRECT, "add_original_caller", "self.flags.fetch_or"),
    (REDIRECT, "remove_original_caller", "caller.size.store"),
    (REDIRECT, "target", "self.in_universe"),
    (UNIVERSE, "universe", "self.slot.state.load"),
    (UNIVERSE, "switch", "self.slot.state.fetch_or"),
    (UNIVERSE, "switch", "self.slot.state.fetch_and"),
    (UNIVERSE, "ask", "self.slot.state.fetch_or"),
    (UNIVERSE, "is_asked", "self.slot.state.load"),
    (UNIVERSE, "left", "self.slot.state.fetch_and"),
    (UNIVERSE, "set_waiting", "self.slot.state.fetch_or"),
    (UNIVERSE, "set_waiting", "self.slot.state.fetch_and"),
    (UNIVERSE, "is_waiting", "self.slot.state.load"),
    (UNIVERSE, "copy", "listed.slot.state.load"),
    (UNIVERSE, "copy", "slot.task.store"),
];

/// All scenarios, each with a number of preemptions that does not take long.
const ALL: &[(usize, Scenario)] = &[
    (2, scenarios::hybrid),
    (2, scenarios::disabled),
    (1, scenarios::replaced),
    (1, scenarios::born),
    (1, scenarios::reversed),
    (2, scenarios::forced),
    (2, scenarios::in_thread),
    (1, scenarios::left),
    (1, scenarios::in_time),
    (1, scenarios::checkpoint),
    (2, scenarios::scattered),
    (2, scenarios::immediate),
    (3, scenarios::nmi),
    (2, scenarios::nmi_on_leaving),
    (3, scenarios::nmi_on_listing),
    (3, scenarios::nmi_on_growing),
    (3, scenarios::original_callers),
];

/// The line of a place, which is to be weakened.
fn find(((file, text), function, access): Place) -> Weakened {
    let function = format!("fn {function}(");
    let mut lines = (1..).zip(text.lines());
    let in_function = lines.by_ref().any(|(_, line)| line.contains(&function));
    let place = lines.find(|(_, line)| line.contains(access) && line.contains("Ordering::"));
    match place {
        Some((line, _)) if in_function => Weakened { file, line, reached: false },
        _ => panic!("no `{access}` in `{function}` of {file}"),
    }
}

#[test]
fn all_orderings_are_looked_at() {
    let listed = NEEDED.iter().map(|needed| needed.0).chain(SPARE.iter().copied());
    let mut listed: Vec<_> = listed.map(find).map(|place| (place.file, place.line)).collect();
    let mut orderings = Vec::new();
    for (file, text) in [REDIRECT, UNIVERSE] {
        let code = text.split("mod tests {").next().unwrap_or_default();
        let is_ordering = |line: &str| {
            ["Acquire", "Release", "AcqRel"]
                .iter()
                .any(|ordering| line.contains(&format!("Ordering::{ordering}")))
        };
        orderings.extend(
            (1..).zip(code.lines()).filter(|(_, line)| is_ordering(line)).map(|(line, _)| (file, line)),
        );
    }
    listed.sort_unstable();
    orderings.sort_unstable();
    assert_eq!(listed, orderings, "each ordering is needed or spare");
}

#[test]
fn an_ordering_that_is_needed_is_missed() {
    for (place, scenario) in NEEDED {
        weaken(vec![find(*place)]);
        let outcome = catch_unwind(|| check(3, || scenario(Wrong::Nothing)));
        weaken(Vec::new());
        assert!(
            outcome.is_err(),
            "nothing is wrong without the ordering of {:?}",
            (place.0.0, place.1, place.2)
        );
    }
}

#[test]
fn an_ordering_that_is_spare_is_not_missed() {
    weaken(SPARE.iter().copied().map(find).collect());
    for (preemptions, scenario) in ALL {
        check(*preemptions, || scenario(Wrong::Nothing));
    }
    let unreached: Vec<_> = weaken(Vec::new()).into_iter().filter(|place| !place.reached).collect();
    assert!(unreached.is_empty(), "not executed: {unreached:?}");
}
