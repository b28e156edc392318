// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Sees to it that each CPU of a guest gets its turn, where QEMU counts instructions.
//!
//! There a turn ends at the next of the guest's timers. QEMU before 8.1 lets the first CPU use up the time until then, and gives
//! what is left to the next one, which may be nothing each time (`rr_cpu_thread_fn` in `accel/tcg/tcg-accel-ops-rr.c`; newer ones
//! divide it, `icount_percpu_budget`). A guest whose first CPU waits in a loop for a lock that the second one holds, interrupts
//! off, then hangs until something from outside ends a turn. On a busy machine about half of s390's guests did, while they booted.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::qmp::{Connection, Listener};

/// How often a turn is ended.
const PERIOD: Duration = Duration::from_millis(250);
/// How long QEMU may take for a command.
const LIMIT: Duration = Duration::from_secs(60);

/// Ends turns of a QEMU as long as it runs. Nobody else may stop the guest or let it go on meanwhile, or has the lock.
pub(super) struct Turns(pub(super) Arc<Mutex<()>>);

impl Turns {
    /// Of the QEMU with this process id, which connects to `control`.
    pub(super) fn end_regularly(control: Listener, pid: u32) -> Turns {
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        thread::spawn(move || {
            let mut connection = None;
            loop {
                thread::sleep(PERIOD);
                // Without a connection QEMU has not started yet, or will not. Else an error means that it has ended: who waits for
                // it says so. A guest that is not helped is only slower.
                match &mut connection {
                    None => connection = control.accept(pid).ok(),
                    Some(connection) => {
                        let _guard = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                        if end_turn(connection).is_err() {
                            return;
                        }
                    }
                }
                // The thread that waits for QEMU has gone, and QEMU with it.
                if Arc::strong_count(&theirs) == 1 {
                    return;
                }
            }
        });
        Turns(lock)
    }
}

/// Stops the guest and lets it go on: the next CPU begins.
fn end_turn(connection: &mut Connection) -> Result<()> {
    connection.execute("stop", &json!({}), Some(LIMIT))?;
    connection.execute("cont", &json!({}), Some(LIMIT))
}
