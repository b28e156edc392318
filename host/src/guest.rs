// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What runs inside the guest, and how it talks to us: `guest/init.sh`, its files, and the frames it sends.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::Arch;
use crate::arch::Qemu;
use crate::initramfs::Initramfs;
use crate::modtree::Module;

/// Where modules lie in the guest, one `NAME.ko` each.
pub const MODULE_DIR: &str = "/lib/klp";
/// Where the command starts, and where added files lie that name no place of their own.
pub const HOME: &str = "/root";

const CHANNEL_MODULE_DIR: &str = "/lib/klp-channel";
const INIT: &str = include_str!("guest/init.sh");

/// What the guest runs once the modules are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// A command, under `sh -c`.
    Exec(String),
    /// An interactive shell on the console, on a terminal of this size.
    Shell {
        /// The terminal's height, in characters.
        rows: u16,
        /// The terminal's width, in characters.
        columns: u16,
    },
}

/// What goes into the guest.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) arch: &'a Arch,
    /// A static busybox of the architecture.
    pub(crate) busybox: &'a Path,
    /// What the channel needs to be there, in load order.
    pub(crate) channel_modules: &'a [Module],
    /// What was asked for, in load order.
    pub(crate) modules: &'a [Module],
    pub(crate) added: &'a [Added],
    pub(crate) job: &'a Job,
    /// Whether the guest waits to be released once the command is done.
    pub(crate) hold: bool,
}

impl Guest<'_> {
    /// The initramfs: busybox, init and its instructions, the modules, the added files.
    pub(crate) fn initramfs(&self) -> Result<Vec<u8>> {
        let mut fs = Initramfs::new();
        // The kernel opens this one as init's standard streams before init can mount a devtmpfs.
        fs.char_device("/dev/console", 5, 1)?;
        fs.copy(self.busybox, "/bin/busybox")?;
        fs.file("/init", 0o755, INIT)?;

        for (list, dir, modules) in [
            ("/etc/klp/channel-modules", CHANNEL_MODULE_DIR, self.channel_modules),
            ("/etc/klp/modules", MODULE_DIR, self.modules),
        ] {
            let mut order = String::new();
            for module in modules {
                let path = format!("{dir}/{}", module.file_name);
                fs.file(&path, 0o644, module.data.as_slice())?;
                order += &format!("{path}\n");
            }
            fs.file(list, 0o644, order)?;
        }
        for added in self.added {
            fs.copy(&added.source, &added.guest_path)?;
        }

        let (mode, command, rows, columns) = match self.job {
            Job::Exec(command) => ("exec", command.as_str(), 24, 80),
            Job::Shell { rows, columns } => ("shell", "", *rows, *columns),
        };
        let Qemu { channel_tty, console, .. } = self.arch.qemu;
        let config = format!(
            "CHANNEL=/dev/{channel_tty}\nCONSOLE=/dev/{console}\nMODE={mode}\nROWS={rows}\nCOLUMNS={columns}\nHOLD={}\n",
            if self.hold { "yes" } else { "" }
        );
        fs.file("/etc/klp/config", 0o644, config)?;
        fs.file("/etc/klp/command", 0o644, command)?;
        fs.finish()
    }
}

/// A file or directory of this machine that the guest gets too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Where it is here.
    pub source: PathBuf,
    /// Where it goes, an absolute path.
    pub guest_path: String,
}

impl std::str::FromStr for Added {
    type Err = anyhow::Error;

    /// Parses `FILE[:GUEST_PATH]`. A relative guest path is below [`HOME`]; without one the file keeps its name.
    fn from_str(text: &str) -> Result<Self> {
        let (source, guest) = match text.rsplit_once(':') {
            Some((source, guest)) => (Path::new(source), guest),
            None => (Path::new(text), ""),
        };
        let guest = match guest {
            "" => source
                .file_name()
                .and_then(|name| name.to_str())
                .with_context(|| format!("'{text}' names no file: give FILE or FILE:GUEST_PATH"))?,
            guest => guest,
        };
        let guest_path = if guest.starts_with('/') { guest.to_owned() } else { format!("{HOME}/{guest}") };
        Ok(Added { source: source.to_owned(), guest_path })
    }
}

/// One message of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The guest is up and about to load modules.
    Ready,
    /// A module would not load.
    Refused {
        /// Its file name.
        module: String,
        /// The loader's words and the kernel's lines about it.
        reason: String,
    },
    /// The modules are in, the command starts.
    Begin,
    /// Bytes of the command's standard output.
    Out(Vec<u8>),
    /// Bytes of the command's standard error.
    Err(Vec<u8>),
    /// The command is done, what it left in the background runs on, and the guest waits for a line on the channel.
    Held,
    /// The command is done.
    Exit(Exit),
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Its exit status.
    pub(crate) status: u8,
    /// The kernel's taint mask (`/proc/sys/kernel/tainted`).
    pub(crate) taint: u64,
    /// Whether all that the command wrote was sent.
    pub(crate) whole: bool,
}

/// Turns the channel's bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pending: Vec<u8>,
}

/// The longest header line there is: a type of 7 letters, a space, 20 digits, a line feed; and some slack.
const HEADER_MAX: usize = 40;

impl Decoder {
    /// Takes in bytes as they come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    ///
    /// The bytes are no frames: something other than init writes to the channel.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>> {
        let Some(feed) = self.pending.iter().take(HEADER_MAX).position(|&byte| byte == b'\n') else {
            ensure!(self.pending.len() < HEADER_MAX, "{}", self.garbage());
            return Ok(None);
        };
        let header = std::str::from_utf8(&self.pending[..feed]).ok().and_then(|line| line.split_once(' '));
        let (kind, length) = header
            .and_then(|(kind, length)| Some((kind.to_owned(), length.parse::<usize>().ok()?)))
            .with_context(|| self.garbage())?;
        let end = feed + 1 + length;
        if self.pending.len() < end {
            return Ok(None);
        }
        let payload = self.pending[feed + 1..end].to_vec();
        let frame = Frame::parse(&kind, payload).with_context(|| self.garbage())?;
        self.pending.drain(..end);
        Ok(Some(frame))
    }

    fn garbage(&self) -> String {
        let start = &self.pending[..self.pending.len().min(HEADER_MAX)];
        format!("expected a frame of the guest's init, found {:?}", String::from_utf8_lossy(start))
    }
}

impl Frame {
    fn parse(kind: &str, payload: Vec<u8>) -> Option<Frame> {
        match kind {
            "ready" => Some(Frame::Ready),
            "begin" => Some(Frame::Begin),
            "held" => Some(Frame::Held),
            "out" => Some(Frame::Out(payload)),
            "err" => Some(Frame::Err(payload)),
            "refused" => {
                let text = String::from_utf8_lossy(&payload);
                let (path, reason) = text.split_once('\n')?;
                let module = path.rsplit('/').next()?.to_owned();
                Some(Frame::Refused { module, reason: reason.trim_end().to_owned() })
            }
            "exit" => {
                let text = String::from_utf8(payload).ok()?;
                let mut words = text.split_whitespace();
                let status = words.next()?.parse().ok()?;
                let taint = words.next()?.parse().ok()?;
                Some(Frame::Exit(Exit { status, taint, whole: words.next()? == "whole" }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(frame) = decoder.next().expect("frames") {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn frames_may_come_in_pieces() {
        let stream = b"ready 1\n\nout 5\na\nb\0\nexit 12\n3 512 whole\n";
        let expected = [
            Frame::Ready,
            Frame::Out(b"a\nb\0\n".to_vec()),
            Frame::Exit(Exit { status: 3, taint: 512, whole: true }),
        ];
        assert_eq!(decode(&[stream]), expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(decode(&bytes), expected);
    }

    #[test]
    fn a_refusal_has_the_module_and_the_reason() {
        let payload = "/lib/klp/a.ko\ninsmod: can't insert\n[    1.000000] a: bad\n";
        let stream = format!("refused {}\n{payload}", payload.len());
        let expected = Frame::Refused {
            module: "a.ko".to_owned(),
            reason: "insmod: can't insert\n[    1.000000] a: bad".to_owned(),
        };
        assert_eq!(decode(&[stream.as_bytes()]), [expected]);
    }

    #[test]
    fn anything_else_is_an_error() {
        for garbage in ["hello world\n", "out x\n", "what 1\n\n", &"x".repeat(HEADER_MAX)] {
            let mut decoder = Decoder::default();
            decoder.push(garbage.as_bytes());
            assert!(decoder.next().is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn added_files_have_a_place() {
        let place = |text: &str| text.parse::<Added>().expect("valid").guest_path;
        assert_eq!(place("some/dir/file"), "/root/file");
        assert_eq!(place("file:sub/name"), "/root/sub/name");
        assert_eq!(place("file:/lib/klp/x.ko"), "/lib/klp/x.ko");
        assert!("/".parse::<Added>().is_err());
    }
}
