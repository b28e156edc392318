// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A QEMU process with its two terminals. It never outlives this process, nor the [`Machine`] that stands for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arch::Threads;
use crate::dump::{self, DumpSpec};
use crate::guest::Job;
use crate::qemu::RunSpec;
use crate::qmp::Listener;
use crate::{Failure, process};

/// Ctrl-], which ends an interactive session whatever state the guest is in.
const ESCAPE: u8 = 0x1d;
/// Ctrl-D, the end of input on a terminal.
const END_OF_INPUT: u8 = 0x04;

/// What comes from the machine.
pub(crate) enum Event {
    Console(Vec<u8>),
    Channel(Vec<u8>),
    /// One of the two has closed: QEMU is going.
    Closed,
    /// The user ended an interactive session.
    Escape,
}

/// A running QEMU. It is killed when dropped.
pub(crate) struct Machine {
    child: Child,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Of an interactive session: where keys go, and where its end is told.
    input: Option<(UnixStream, Sender<Event>)>,
    /// Our end of the guest's channel.
    channel: UnixStream,
    /// Where QEMU takes commands, if a dump was asked for.
    control: Option<Listener>,
    complaints: Option<JoinHandle<String>>,
    /// QEMU opens it through our descriptor.
    _archive: File,
}

impl Machine {
    pub(crate) fn start(spec: &RunSpec<'_>, initramfs: &[u8]) -> Result<Machine> {
        let qemu = &spec.kernel.arch.qemu;
        // setpriv: QEMU must not outlive us, whatever signal ends us.
        for (program, package) in [(qemu.binary, qemu.package), ("setpriv", "util-linux")] {
            if process::which(program).is_none() {
                let fix = format!("apt-get install {package}");
                return Err(Failure::Missing { what: program.to_owned(), fix }.into());
            }
        }

        // Nothing in the file system has to be cleaned up: the archive's file has no name, the terminals are sockets
        // that QEMU inherits as its standard input and output.
        let mut archive = tempfile::tempfile().context("cannot make a temporary file")?;
        archive.write_all(initramfs).context("cannot write the initramfs to a temporary file")?;
        let (channel, qemu_channel) = UnixStream::pair().context("cannot make a socket")?;
        let (console, qemu_console) = UnixStream::pair().context("cannot make a socket")?;

        let (sender, events) = mpsc::channel();
        let input = match spec.job {
            Job::Exec(_) => None,
            Job::Shell { .. } => {
                let console = console.try_clone().context("cannot share a socket")?;
                Some((console, sender.clone()))
            }
        };

        let control = spec.dump.as_ref().map(|_| Listener::new()).transpose()?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", qemu.binary]);
        command.args(arguments(spec, &format!("/proc/{}/fd/{}", std::process::id(), archive.as_raw_fd())));
        command.args(control.iter().flat_map(Listener::arguments));
        command.stdin(OwnedFd::from(qemu_channel)).stdout(OwnedFd::from(qemu_console)).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run setpriv")?;
        // It holds QEMU's ends of the sockets: as long as it lives, they do not close.
        drop(command);

        let complaints = child.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut text = Vec::new();
                // What could be read before an error is still worth showing.
                let _ = stderr.read_to_end(&mut text);
                String::from_utf8_lossy(&text).trim_end().to_owned()
            })
        });
        forward(console, Event::Console, sender.clone());
        forward(channel.try_clone().context("cannot share a socket")?, Event::Channel, sender);
        Ok(Machine { child, events, input, channel, control, complaints, _archive: archive })
    }

    /// Passes our standard input on to the guest's console.
    pub(crate) fn connect_input(&mut self) {
        let Some((mut guest, sender)) = self.input.take() else { return };
        // The thread may wait for a key for ever; it ends with the process.
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            loop {
                let keys = match io::stdin().lock().read(&mut buffer) {
                    Ok(count) if count > 0 => &buffer[..count],
                    _ => &[END_OF_INPUT],
                };
                if keys.contains(&ESCAPE) {
                    // Nobody listens any more if the guest has just ended.
                    let _ = sender.send(Event::Escape);
                    return;
                }
                if guest.write_all(keys).is_err() || keys == [END_OF_INPUT] {
                    return;
                }
            }
        });
    }

    /// Takes a dump of the guest, within `limit`; the guest goes on afterwards.
    pub(crate) fn dump(&mut self, dump: &DumpSpec, limit: Option<Duration>) -> Result<()> {
        let control = self.control.as_ref().context("QEMU was started without a control connection")?;
        dump::take(&mut control.accept(self.child.id())?, dump, limit)
    }

    /// Tells a guest that waits ([`crate::guest::Frame::Held`]) to go on.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.channel.write_all(b"\n").context("cannot tell the guest to go on")
    }

    pub(crate) fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
    }

    /// How QEMU ended, and what it had to say.
    pub(crate) fn wait(&mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait().context("cannot wait for QEMU")?;
        let complaint = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok((status, complaint))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        // Reaps it; there is nothing left to do about a failure.
        let _ = self.child.wait();
    }
}

/// Sends all that `source` gives as events, from a thread of its own, until it ends.
fn forward(mut source: impl Read + Send + 'static, event: fn(Vec<u8>) -> Event, sender: Sender<Event>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = source.read(&mut buffer) {
            if count == 0 || sender.send(event(buffer[..count].to_vec())).is_err() {
                break;
            }
        }
        // Nobody listens any more if the run has failed.
        let _ = sender.send(Event::Closed);
    });
}

/// QEMU's command line.
fn arguments(spec: &RunSpec<'_>, initramfs: &str) -> Vec<String> {
    let qemu = &spec.kernel.arch.qemu;
    let mut append = format!(
        "console={} panic=-1 printk.time=1 printk.devkmsg=on log_buf_len=1M {} {}",
        qemu.console, qemu.append, spec.append
    );
    let mut args: Vec<String> = qemu.machine.iter().map(|&arg| arg.to_owned()).collect();
    let accel = match qemu.threads {
        // QEMU has but one thread to count instructions with.
        Threads::Each if !spec.count_instructions => "tcg,thread=multi",
        Threads::One | Threads::Counted | Threads::Each => "tcg,thread=single",
    };
    args.extend(["-accel", accel].map(str::to_owned));
    if spec.count_instructions {
        args.extend(["-icount", "shift=0,sleep=off"].map(str::to_owned));
        // The x86 kernel would measure its TSC against a timer that does not count, and distrust it.
        append += " clocksource=tsc tsc=reliable";
    } else if qemu.threads == Threads::Counted {
        args.extend(["-icount", "shift=2,sleep=on"].map(str::to_owned));
    }
    let fixed = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"];
    args.extend(fixed.map(str::to_owned));
    args.extend(["-smp".to_owned(), spec.smp.to_string(), "-m".to_owned(), spec.mem.to_string()]);
    // Descriptors: its standard input and output.
    args.extend(
        ["-chardev", "socket,id=channel,fd=0", "-chardev", "socket,id=console,fd=1"].map(str::to_owned),
    );
    args.extend(["-serial", "chardev:console"].map(str::to_owned));
    args.extend(qemu.channel.iter().map(|&arg| arg.to_owned()));
    args.extend(["-kernel".to_owned(), spec.kernel.image.display().to_string()]);
    args.extend(["-initrd".to_owned(), initramfs.to_owned()]);
    args.extend(["-append".to_owned(), append.trim_end().to_owned()]);
    args
}
