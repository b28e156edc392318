// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What is going on, on standard error: a live line per phase on a terminal, one plain line per phase elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows phases while they last, and remembers how long each took. Phases may overlap, on one thread or several.
#[derive(Debug)]
pub struct Progress {
    output: Output,
    done: Mutex<Vec<(String, Duration)>>,
}

#[derive(Debug)]
enum Output {
    Terminal(MultiProgress),
    Lines,
    Silent,
}

impl Progress {
    /// Shows phases on standard error.
    pub fn new() -> Self {
        let output = match io::stderr().is_terminal() {
            true => Output::Terminal(MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            false => Output::Lines,
        };
        Progress { output, done: Mutex::default() }
    }

    /// Shows nothing, and still measures.
    pub fn silent() -> Self {
        Progress { output: Output::Silent, done: Mutex::default() }
    }

    /// Does `work` as the phase `name`. Work that fails leaves no time behind.
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub fn phase<T, E>(
        &self,
        name: impl Into<String>,
        work: impl FnOnce(&Phase) -> Result<T, E>,
    ) -> Result<T, E> {
        let name = name.into();
        let phase = Phase { bar: self.start(&name) };
        let start = Instant::now();
        let result = work(&phase);
        let took = start.elapsed();
        if let Some(bar) = &phase.bar {
            bar.finish_and_clear();
        }
        match (&result, &self.output) {
            (Ok(_), Output::Terminal(_)) => self.note(&line(&name, took)),
            (Ok(_), Output::Lines) => eprintln!("{}", line(&name, took)),
            _ => {}
        }
        if result.is_ok() {
            self.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((name, took));
        }
        result
    }

    /// Says something beside the phases.
    pub fn note(&self, text: &str) {
        match &self.output {
            // A terminal that is gone has nobody to tell.
            Output::Terminal(bars) => bars.suspend(|| eprintln!("{text}")),
            Output::Lines => eprintln!("{text}"),
            Output::Silent => {}
        }
    }

    /// The phases that are done, in the order they ended, and how long each took.
    pub fn times(&self) -> Vec<(String, Duration)> {
        self.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// [`times`](Self::times), a line each: `name … 12.3 s`.
    pub fn summary(&self) -> String {
        self.times().iter().fold(String::new(), |mut text, (name, took)| {
            let _ = writeln!(text, "{}", line(name, *took));
            text
        })
    }

    fn start(&self, name: &str) -> Option<ProgressBar> {
        let Output::Terminal(bars) = &self.output else { return None };
        let bar = bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Some(bar)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

/// A phase that is going on.
#[derive(Debug)]
pub struct Phase {
    bar: Option<ProgressBar>,
}

impl Phase {
    /// Says what the phase is at. Only a terminal shows it.
    pub fn detail(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }
}

fn line(name: &str, took: Duration) -> String {
    format!("{name} … {:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_that_succeed_are_remembered() {
        let progress = Progress::silent();
        let inner = progress.phase("outer", |_| progress.phase("inner", |_| Ok::<_, ()>(7)));
        assert_eq!(inner, Ok(7));
        assert_eq!(progress.phase("bad", |_| Err::<(), _>("no")), Err("no"));
        let names: Vec<String> = progress.times().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["inner", "outer"]);
        assert_eq!(progress.summary(), "inner … 0.0 s\nouter … 0.0 s\n");
        assert_eq!(line("kernel", Duration::from_millis(12_345)), "kernel … 12.3 s");
    }
}
