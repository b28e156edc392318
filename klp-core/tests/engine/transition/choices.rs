// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Who goes on next: decided by a list, so that a history can be had again, and all of them one after the other.

use std::fmt;

/// Decides between alternatives; when the list is used up, always for the first.
#[derive(Clone, Default)]
pub(crate) struct Choices {
    /// What was decided, and between how many.
    taken: Vec<(usize, usize)>,
    /// What is to be decided.
    given: Vec<usize>,
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.given.iter().try_for_each(|choice| write!(f, "{choice} "))
    }
}

impl Choices {
    /// Decides by these numbers, whatever the number of alternatives is.
    pub(crate) fn from_numbers(numbers: &[u8]) -> Choices {
        Choices { taken: Vec::new(), given: numbers.iter().map(|number| usize::from(*number)).collect() }
    }

    /// One of so many.
    pub(crate) fn choose(&mut self, alternatives: usize) -> usize {
        if alternatives == 1 {
            return 0;
        }
        let choice = self.given.get(self.taken.len()).copied().unwrap_or(0) % alternatives;
        self.taken.push((choice, alternatives));
        choice
    }

    /// What leads to the next history, depth first.
    fn next(mut self) -> Option<Choices> {
        while let Some((choice, alternatives)) = self.taken.pop() {
            if choice + 1 < alternatives {
                let given = self.taken.iter().map(|(choice, _)| *choice).chain([choice + 1]).collect();
                return Some(Choices { taken: Vec::new(), given });
            }
        }
        None
    }
}

/// Runs every history; returns how many there are.
pub(crate) fn every_history(mut run: impl FnMut(&mut Choices)) -> usize {
    let mut next = Some(Choices::default());
    let mut count = 0;
    while let Some(mut choices) = next {
        run(&mut choices);
        count += 1;
        next = choices.next();
    }
    count
}
