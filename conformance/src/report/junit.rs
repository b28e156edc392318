// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! JUnit, through quick-junit.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::{Outcome, Report};

pub(super) fn render(report: &Report) -> anyhow::Result<String> {
    let mut junit = Junit::new("klp-conformance");
    for place in report.places() {
        let mut suite = TestSuite::new(place.as_str());
        for result in report.results.iter().filter(|result| result.place() == place) {
            let status = match &result.outcome {
                Outcome::Passed => TestCaseStatus::success(),
                Outcome::Failed(reason) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(reason.as_str());
                    status
                }
                Outcome::Skipped(reason) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason.as_str());
                    status
                }
            };
            let mut case = TestCase::new(format!("{} {}", result.id, result.name), status);
            case.set_classname(result.source.as_str());
            case.set_time(result.duration);
            if !result.log.is_empty() {
                case.set_system_out(result.log.as_str());
            }
            suite.add_test_case(case);
        }
        junit.add_test_suite(suite);
    }
    Ok(junit.to_string()?)
}
