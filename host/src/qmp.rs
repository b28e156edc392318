// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! QEMU's control connection, the QEMU Machine Protocol: JSON objects, one a line (QEMU's `docs/interop/qmp-spec`).

use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// Where a QEMU that is about to start will connect to. The name is in Linux's abstract namespace: there is no file to
/// clean up, however this process ends.
pub(crate) struct Listener {
    name: String,
    socket: UnixListener,
}

impl Listener {
    pub(crate) fn new() -> Result<Listener> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("klp-qmp-{}-{count}", std::process::id());
        let bind = || UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?);
        let socket = bind().with_context(|| format!("cannot make the socket @{name} for QEMU"))?;
        // QEMU connects before it starts the guest.
        socket.set_nonblocking(true).context("cannot set up the socket for QEMU")?;
        Ok(Listener { name, socket })
    }

    /// What makes QEMU connect.
    pub(crate) fn arguments(&self) -> [String; 4] {
        let Listener { name, .. } = self;
        let chardev = format!("socket,id={name},path={name},abstract=on");
        ["-chardev".to_owned(), chardev, "-mon".to_owned(), format!("chardev={name},mode=control")]
    }

    /// The connection of the QEMU with this process id, whose guest is up.
    pub(crate) fn accept(&self, pid: u32) -> Result<Connection> {
        loop {
            let (stream, _) = self.socket.accept().context("QEMU's control connection is not there")?;
            let peer = rustix::net::sockopt::socket_peercred(&stream).context("cannot tell who connected")?;
            // Anybody on this machine can connect to the name.
            if u32::try_from(peer.pid.as_raw_nonzero().get()).is_ok_and(|peer| peer == pid) {
                return Connection::greet(stream);
            }
        }
    }
}

/// A connection that takes commands.
pub(crate) struct Connection {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Connection {
    fn greet(stream: UnixStream) -> Result<Connection> {
        stream.set_nonblocking(false).context("cannot set up QEMU's control connection")?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).context("cannot set a time-out")?;
        let lines = BufReader::new(stream.try_clone().context("cannot share a socket")?);
        let mut connection = Connection { stream, lines };
        let greeting = connection.receive()?;
        ensure!(
            greeting.get("QMP").is_some(),
            "expected QEMU's greeting on its control connection: {greeting}"
        );
        connection.execute("qmp_capabilities", &json!({}), None)?;
        Ok(connection)
    }

    /// Runs a command and waits until it is done, at most for `limit`.
    ///
    /// # Errors
    ///
    /// QEMU's own words if it fails.
    pub(crate) fn execute(
        &mut self,
        command: &str,
        arguments: &Value,
        limit: Option<Duration>,
    ) -> Result<()> {
        self.stream.set_read_timeout(limit).context("cannot set a time-out")?;
        let request = json!({ "execute": command, "arguments": arguments });
        let sent = self.stream.write_all(format!("{request}\n").as_bytes());
        sent.with_context(|| format!("cannot send QEMU the command {command}"))?;
        loop {
            let answer = self.receive().with_context(|| format!("QEMU did not finish {command}"))?;
            if let Some(error) = answer.get("error") {
                let words = error.get("desc").and_then(Value::as_str).unwrap_or("it does not say why");
                bail!("QEMU's {command} failed: {words}");
            }
            // Anything else is an event.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).context("QEMU does not answer")?;
        ensure!(count > 0, "QEMU closed its control connection");
        serde_json::from_str(&line).with_context(|| format!("expected JSON from QEMU, found {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that says these lines, as long as its end is kept.
    fn qemu(lines: &str) -> (UnixStream, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().expect("pair");
        theirs.write_all(lines.as_bytes()).expect("write");
        (ours, theirs)
    }

    const GREETING: &str = "{\"QMP\": {}}\r\n{\"return\": {}}\r\n";

    #[test]
    fn events_are_passed_over() {
        let said = format!("{GREETING}{{\"event\": \"STOP\"}}\r\n{{\"return\": {{}}}}\r\n");
        let (ours, _qemu) = qemu(&said);
        let mut connection = Connection::greet(ours).expect("greeting");
        connection.execute("stop", &json!({}), None).expect("done");
    }

    #[test]
    fn a_failure_is_told_in_qemus_words() {
        let said = format!("{GREETING}{{\"error\": {{\"class\": \"X\", \"desc\": \"no room\"}}}}\r\n");
        let (ours, theirs) = qemu(&said);
        let mut connection = Connection::greet(ours).expect("greeting");
        let error = connection.execute("dump", &json!({}), None).expect_err("fails");
        assert!(error.to_string().contains("dump failed: no room"), "{error:#}");
        drop(theirs);
        let error = connection.execute("dump", &json!({}), None).expect_err("closed");
        assert!(format!("{error:#}").contains("dump"), "{error:#}");
    }

    #[test]
    fn whoever_connects_first_is_not_taken_for_qemu() {
        let listener = Listener::new().expect("listener");
        let address = SocketAddr::from_abstract_name(&listener.name).expect("address");
        let mut ours = UnixStream::connect_addr(&address).expect("connect");
        ours.write_all(GREETING.as_bytes()).expect("write");
        assert!(listener.accept(1).is_err());
        let mut ours = UnixStream::connect_addr(&address).expect("connect");
        ours.write_all(GREETING.as_bytes()).expect("write");
        assert!(listener.accept(std::process::id()).is_ok());
    }
}
