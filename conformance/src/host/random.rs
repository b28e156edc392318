// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Random input, the same in every run, made smaller when it fails.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};

use super::Check;

/// Checks `property` for `cases` values of `strategy`.
///
/// # Errors
///
/// The smallest value found for which it does not hold, and why.
pub(crate) fn for_all<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value) -> Check) -> Check {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let algorithm = config.rng_algorithm;
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(algorithm));
    let result = runner.run(strategy, |value| property(value).map_err(TestCaseError::fail));
    result.map_err(|error| match error {
        TestError::Fail(reason, value) => format!("{reason}\nsmallest input: {value:x?}"),
        TestError::Abort(reason) => format!("gave up: {reason}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_made_small() {
        let check = |value: u32| if value < 1000 { Ok(()) } else { Err(format!("{value} is large")) };
        let error = for_all(256, &proptest::num::u32::ANY, check).expect_err("not for all");
        assert!(error.contains("3e8"), "{error}");
        assert_eq!(for_all(64, &(0..1000_u32), check), Ok(()));
    }
}
