// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Recorded stacks: an [`Image`] of a task of a real kernel and what its walk found, as text.
//!
//! A line says one thing; its first word says what. Numbers are hexadecimal, words are numbers whatever the machine's
//! byte order is, `0*N` stands for N words of zero. What follows `#` is for readers.
//!
//! ```text
//! arch x86_64
//! kernel 6.12.117+deb12-amd64
//! task 1 init
//! endian little | big
//! start switched-out SP PC FP             what the context switch saved
//! bottom ADDR
//! unwind frames | end-bit | signal-bit
//! stack START SIZE                        each stack, innermost first
//! memory ADDR WORD…                       continues that of the line before if the address follows it
//! text ADDR BYTES
//! code START SIZE function | abi | discarded | entry | generated | graph | probe | patch
//! kept graph | probe | patch ADDR…        the newest first
//! table BASE
//! entry START BYTES                       of the unwind table
//! frame PC SP FP return|exact FOUND       what the walk found …
//! verdict reliable | REASON [ADDR]        … and how it ended
//! ```

use std::fmt;
use std::str::{FromStr, SplitWhitespace};

use anyhow::{Context, Error, Result, bail, ensure};
use klp_core::platform::Range;
use klp_core::unwind::{Code, Cursor, Found, Frame, ReturnTrampoline, Saved, Start, TableFormat, UnwindInfo};
use klp_core::unwind::{Unreliable, UnwindTable};
use klp_core::{Addr, Endian};

use super::{Image, Table};

/// A recorded stack.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// The architecture, as `--arch` names it.
    pub arch: String,
    /// The release of the kernel that it is of.
    pub kernel: String,
    /// The task's number and name.
    pub task: String,
    /// What there was.
    pub image: Image,
    /// The functions that a walk finds, each with what it is called.
    pub frames: Vec<(Frame, String)>,
    /// How the walk ends.
    pub verdict: Outcome,
}

/// How a walk ended, as a fixture keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every function was found.
    Reliable,
    /// Not, for the reason of this name, at this address.
    Unreliable(String, Option<Addr>),
}

impl From<Result<(), Unreliable>> for Outcome {
    fn from(verdict: Result<(), Unreliable>) -> Outcome {
        match verdict {
            Ok(()) => Outcome::Reliable,
            Err(reason) => Outcome::Unreliable(reason.name().to_owned(), reason.addr()),
        }
    }
}

const UNWIND: [(&str, UnwindInfo); 3] = [
    ("frames", UnwindInfo::Frames),
    ("end-bit", UnwindInfo::Tables(TableFormat::EndBit)),
    ("signal-bit", UnwindInfo::Tables(TableFormat::SignalBit)),
];
const KEEPERS: [(&str, ReturnTrampoline); 3] = [
    ("graph", ReturnTrampoline::Graph),
    ("probe", ReturnTrampoline::Probe),
    ("patch", ReturnTrampoline::Patch),
];
const CODE: [(&str, Code); 7] = [
    ("function", Code::Function),
    ("discarded", Code::Discarded),
    ("entry", Code::Entry),
    ("generated", Code::Generated),
    ("graph", Code::ReturnTrampoline(ReturnTrampoline::Graph)),
    ("probe", Code::ReturnTrampoline(ReturnTrampoline::Probe)),
    ("patch", Code::ReturnTrampoline(ReturnTrampoline::Patch)),
];
const FOUND: [(&str, Found); 7] = [
    ("start", Found::Start),
    ("chain", Found::Chain),
    ("table", Found::Table),
    ("registers", Found::Registers),
    ("graph", Found::Kept(ReturnTrampoline::Graph)),
    ("probe", Found::Kept(ReturnTrampoline::Probe)),
    ("patch", Found::Kept(ReturnTrampoline::Patch)),
];

/// The word for a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    // A value without a word makes a line that cannot be read back, which the recorder's caller notices.
    words.iter().find(|(_, known)| known == value).map_or("?", |(word, _)| *word)
}

/// The value of a word.
fn value<T: Copy>(words: &[(&'static str, T)], word: &str) -> Result<T> {
    let known = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    known.with_context(|| {
        let expected: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("expected one of {}, found '{word}'", expected.join(", "))
    })
}

/// Words on one line of `memory`.
const LINE: usize = 8;

impl fmt::Display for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Image { endian, start, stacks, bottom, memory, text, code, kept, unwind_info, table } =
            &self.image;
        writeln!(f, "# SPDX-License-Identifier: GPL-2.0-only OR MIT")?;
        writeln!(f, "arch {}\nkernel {}\ntask {}", self.arch, self.kernel, self.task)?;
        writeln!(f, "endian {}", if *endian == Endian::Little { "little" } else { "big" })?;
        match start {
            Start::SwitchedOut(Saved { sp, pc, fp }) => {
                writeln!(f, "start switched-out {sp:x} {pc:x} {fp:x}")?
            }
            Start::At(Cursor { pc, sp, fp, exact }) => {
                writeln!(f, "start at {sp:x} {pc:x} {fp:x} {}", if *exact { "exact" } else { "return" })?;
            }
        }
        writeln!(f, "bottom {bottom:x}\nunwind {}", word(&UNWIND, unwind_info))?;
        for Range { start, size } in stacks {
            writeln!(f, "stack {start:x} {size:x}")?;
        }
        for (start, bytes) in memory {
            write_words(f, *start, &words(bytes, *endian))?;
        }
        for (start, bytes) in text {
            writeln!(f, "text {start:x} {}", hex(bytes))?;
        }
        for (Range { start, size }, kind) in code {
            writeln!(f, "code {start:x} {size:x} {}", word(&CODE, kind))?;
        }
        for (keeper, kept) in ReturnTrampoline::ALL.iter().zip(kept).filter(|(_, kept)| !kept.is_empty()) {
            let kept: Vec<String> = kept.iter().map(|addr| format!("{addr:x}")).collect();
            writeln!(f, "kept {} {}", word(&KEEPERS, keeper), kept.join(" "))?;
        }
        if !table.entries.is_empty() {
            writeln!(f, "table {:x}", table.base)?;
        }
        for ((offset, i), entry) in table.offsets.iter().zip(0_u64..).zip(&table.entries) {
            let start = table.base.wrapping_add(4 * i).wrapping_add_signed(i64::from(*offset));
            writeln!(f, "entry {start:x} {}", hex(entry))?;
        }
        for (Frame { cursor, found }, name) in &self.frames {
            let Cursor { pc, sp, fp, exact } = cursor;
            let kind = if *exact { "exact" } else { "return" };
            writeln!(f, "frame {pc:x} {sp:x} {fp:x} {kind} {} # {name}", word(&FOUND, found))?;
        }
        match &self.verdict {
            Outcome::Reliable => writeln!(f, "verdict reliable"),
            Outcome::Unreliable(reason, None) => writeln!(f, "verdict {reason}"),
            Outcome::Unreliable(reason, Some(addr)) => writeln!(f, "verdict {reason} {addr:x}"),
        }
    }
}

fn words(bytes: &[u8], endian: Endian) -> Vec<u64> {
    let (words, _) = bytes.as_chunks();
    let number = match endian {
        Endian::Little => u64::from_le_bytes,
        Endian::Big => u64::from_be_bytes,
    };
    words.iter().map(|word| number(*word)).collect()
}

fn write_words(f: &mut fmt::Formatter<'_>, start: Addr, words: &[u64]) -> fmt::Result {
    let mut at = 0;
    while at < words.len() {
        write!(f, "memory {:x}", start + 8 * at as u64)?;
        for _ in 0..LINE {
            let Some(word) = words.get(at) else { break };
            let zeros = words[at..].iter().take_while(|word| **word == 0).count();
            if zeros > 1 {
                write!(f, " 0*{zeros}")?;
            } else {
                write!(f, " {word:x}")?;
            }
            at += zeros.max(1);
        }
        writeln!(f)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl FromStr for Fixture {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fixture> {
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            if let Some(what) = words.next() {
                reader.line(what, &mut words).with_context(|| format!("line {number}: '{line}'"))?;
                ensure!(words.next().is_none(), "line {number}: '{line}': more words than expected");
            }
        }
        reader.finish()
    }
}

/// What was read so far.
struct Reader {
    fixture: Fixture,
    entries: Vec<(Addr, [u8; UnwindTable::ENTRY_SIZE])>,
    base: Addr,
    verdict: bool,
}

impl Default for Reader {
    fn default() -> Reader {
        let image =
            Image { stacks: Vec::new(), memory: Default::default(), ..Image::new(Endian::Little, 0, 0) };
        let fixture = Fixture {
            arch: String::new(),
            kernel: String::new(),
            task: String::new(),
            image,
            frames: Vec::new(),
            verdict: Outcome::Reliable,
        };
        Reader { fixture, entries: Vec::new(), base: 0, verdict: false }
    }
}

impl Reader {
    fn line(&mut self, what: &str, words: &mut SplitWhitespace<'_>) -> Result<()> {
        let Fixture { image, .. } = &mut self.fixture;
        match what {
            "arch" => self.fixture.arch = next(words)?.to_owned(),
            "kernel" => self.fixture.kernel = next(words)?.to_owned(),
            "task" => self.fixture.task = words.by_ref().collect::<Vec<_>>().join(" "),
            "endian" => {
                image.endian = value(&[("little", Endian::Little), ("big", Endian::Big)], next(words)?)?
            }
            "start" => {
                let kind = next(words)?;
                let (sp, pc, fp) = (number(words)?, number(words)?, number(words)?);
                image.start = match kind {
                    "switched-out" => Start::SwitchedOut(Saved { sp, pc, fp }),
                    "at" => Start::At(Cursor { pc, sp, fp, exact: exact(words)? }),
                    other => bail!("expected switched-out or at, found '{other}'"),
                };
            }
            "bottom" => image.bottom = number(words)?,
            "unwind" => image.unwind_info = value(&UNWIND, next(words)?)?,
            "stack" => image.stacks.push(range(words)?),
            "memory" => {
                let start = number(words)?;
                let bytes = memory(words, image.endian)?;
                let last = image.memory.last_entry();
                match last.filter(|last| last.key() + last.get().len() as u64 == start) {
                    Some(mut last) => last.get_mut().extend(bytes),
                    None => drop(image.memory.insert(start, bytes)),
                }
            }
            "text" => drop(image.text.insert(number(words)?, unhex(next(words)?)?)),
            "code" => image.code.push((range(words)?, value(&CODE, next(words)?)?)),
            "kept" => {
                let keeper = value(&KEEPERS, next(words)?)?;
                for word in words.by_ref() {
                    image.kept[keeper as usize].push(parse(word)?);
                }
            }
            "table" => self.base = number(words)?,
            "entry" => {
                let start = number(words)?;
                let entry = unhex(next(words)?)?.try_into();
                self.entries.push((start, entry.ok().context("expected six bytes")?));
            }
            "frame" => {
                let (pc, sp, fp) = (number(words)?, number(words)?, number(words)?);
                let cursor = Cursor { pc, sp, fp, exact: exact(words)? };
                let found = value(&FOUND, next(words)?)?;
                self.fixture.frames.push((Frame { cursor, found }, String::new()));
            }
            "verdict" => {
                self.verdict = true;
                self.fixture.verdict = match next(words)? {
                    "reliable" => Outcome::Reliable,
                    reason => Outcome::Unreliable(reason.to_owned(), words.next().map(parse).transpose()?),
                };
            }
            other => bail!("nothing is known of '{other}'"),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Fixture> {
        ensure!(self.verdict, "there is no verdict: the fixture is cut short");
        ensure!(!self.fixture.image.stacks.is_empty(), "there is no stack");
        self.fixture.image.table = Table::new(self.base, self.entries);
        Ok(self.fixture)
    }
}

fn next<'a>(words: &mut SplitWhitespace<'a>) -> Result<&'a str> {
    words.next().context("a word is missing")
}

fn parse(word: &str) -> Result<u64> {
    u64::from_str_radix(word, 16).with_context(|| format!("expected a hexadecimal number, found '{word}'"))
}

fn number(words: &mut SplitWhitespace<'_>) -> Result<u64> {
    parse(next(words)?)
}

fn range(words: &mut SplitWhitespace<'_>) -> Result<Range> {
    Ok(Range { start: number(words)?, size: number(words)? })
}

fn exact(words: &mut SplitWhitespace<'_>) -> Result<bool> {
    value(&[("exact", true), ("return", false)], next(words)?)
}

fn memory(words: &mut SplitWhitespace<'_>, endian: Endian) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in words {
        let (word, count) = match word.split_once('*') {
            Some((word, count)) => (word, count.parse().context("expected a count of words")?),
            None => (word, 1),
        };
        let word = match endian {
            Endian::Little => parse(word)?.to_le_bytes(),
            Endian::Big => parse(word)?.to_be_bytes(),
        };
        bytes.extend(word.repeat(count));
    }
    Ok(bytes)
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let byte = |i| text.get(i..i + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..text.len())
        .step_by(2)
        .map(byte)
        .collect::<Option<_>>()
        .context("expected bytes in hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixture with something of everything.
    fn fixture(endian: Endian) -> Fixture {
        let mut image = Image::new(endian, 0x8000, 0x100);
        image.set(0x8008, 0x1234_5678_9abc_def0);
        image.set(0x80f8, 1);
        image.start = Start::SwitchedOut(Saved { sp: 0x8008, pc: 1, fp: 2 });
        image.add_text(0x1000, &[0xe8, 0, 1], Code::Function);
        for (i, (_, kind)) in (0..).zip(CODE) {
            image.code.push((Range { start: 0x2000 + 16 * i, size: 16 }, kind));
        }
        image.kept = [vec![0x1001, 0x1002], vec![], vec![0x1003]];
        image.unwind_info = UnwindInfo::Tables(TableFormat::SignalBit);
        image.table = Table::new(0x1_0000, vec![(0x1000, [1, 2, 3, 4, 5, 6]), (0x1003, [0; 6])]);
        let frames = FOUND.iter().zip(0..).map(|((_, found), i)| {
            let cursor = Cursor { pc: 0x1000 + i, sp: 0x8008 + 8 * i, fp: i, exact: i == 3 };
            (Frame { cursor, found: *found }, String::new())
        });
        Fixture {
            arch: "none".to_owned(),
            kernel: "6.0-x".to_owned(),
            task: "1 two words".to_owned(),
            image,
            frames: frames.collect(),
            verdict: Err(Unreliable::NotText(7)).into(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for endian in [Endian::Little, Endian::Big] {
            let text = fixture(endian).to_string();
            let read: Fixture = text.parse().expect("whole");
            assert_eq!(read.to_string(), text);
            assert_eq!(format!("{read:?}"), format!("{:?}", fixture(endian)));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let text = fixture(Endian::Little).to_string();
        let wrong = |from: &str, to: &str| {
            let error = text.replacen(from, to, 1).parse::<Fixture>().expect_err("wrong");
            format!("{error:#}")
        };
        assert!(wrong("verdict", "# verdict").contains("cut short"));
        assert!(wrong("bottom ", "bottom x").contains("line 7: "), "{}", wrong("bottom ", "bottom x"));
        assert!(wrong("endian little", "endian middle").contains("one of little, big"));
        assert!(wrong("stack ", "heap ").contains("nothing is known of 'heap'"));
        assert!(wrong("kernel 6.0-x", "kernel 6.0 x").contains("more words"));
    }
}
