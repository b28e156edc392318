// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The matrix as one HTML file.

use std::fmt::Write;

use super::{CaseResult, Outcome, Report};

const STYLE: &str = "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}\
td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}\
td.p{background:#dfd}td.f{background:#fdd}td.s{background:#ffd}td.n{background:#eee}\
small{color:#555}pre{max-width:60em;overflow:auto}";

pub(super) fn render(report: &Report) -> String {
    let places = report.places();
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Conformance</title>\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(html, "<style>{STYLE}</style>\n<h1>Conformance</h1>\n<p>{}</p>", report.counts());
    html.push_str("<table><tr><th>Case</th>");
    for place in &places {
        let _ = write!(html, "<th>{}</th>", escape(place));
    }
    html.push_str("</tr>\n");
    for (id, first) in cases(report) {
        let _ = write!(
            html,
            "<tr><td>{} {}<br><small>{}</small></td>",
            escape(id),
            escape(&first.name),
            escape(&first.source)
        );
        for place in &places {
            html.push_str(&cell(report.results.iter().find(|r| r.id == id && r.place() == *place)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
    for result in report.results.iter().filter(|result| matches!(result.outcome, Outcome::Failed(_))) {
        let _ = writeln!(
            html,
            "<h2>{} on {}</h2><pre>{}</pre>",
            escape(&result.id),
            escape(&result.place()),
            escape(&result.log)
        );
    }
    html.push_str("</html>\n");
    html
}

/// Each case once, in the order in which they came.
fn cases(report: &Report) -> Vec<(&str, &CaseResult)> {
    let mut cases: Vec<(&str, &CaseResult)> = Vec::new();
    for result in &report.results {
        if cases.iter().all(|(id, _)| *id != result.id) {
            cases.push((&result.id, result));
        }
    }
    cases
}

fn cell(result: Option<&CaseResult>) -> String {
    match result.map(|result| &result.outcome) {
        Some(Outcome::Passed) => "<td class=p>passed</td>".to_owned(),
        Some(Outcome::Failed(reason)) => {
            format!("<td class=f>failed<br><small>{}</small></td>", escape(reason))
        }
        Some(Outcome::Skipped(reason)) => {
            format!("<td class=s>skipped<br><small>{}</small></td>", escape(reason))
        }
        None => "<td class=n>not run</td>".to_owned(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
