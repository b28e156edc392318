// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What walks have learnt of code addresses, for those that come after: thousands of tasks sleep in the same few places.
//!
//! A stale answer would be a wrong walk, so little is remembered, and not for long:
//!
//! * Only of text that is [permanent](Machine::is_permanent). Modules, and code made at run time, come and go at the same
//!   addresses.
//! * Only what its bytes and its unwind table say: that an address follows a call in a function, and the table's entry. Where a
//!   frame lies, what the task's words are, and what keepers of return addresses keep, is looked at in every walk; so a
//!   trampoline's address is never remembered.
//! * The bytes may be patched (jump labels, static calls, probes). So an address may follow a call no more, and whoever returns
//!   there made that call before. For one pass over the tasks that is as good an answer; then all is [forgotten](Seen::forget).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Code, Machine, Memory, ReturnTrampoline, UnwindInfo, UnwindTable};
use crate::Addr;

/// How many addresses are remembered; a power of two. One that falls on another's place takes it.
const PLACES: usize = 512;

/// Code addresses, each with what is known of it.
///
/// For one walk at a time: two would mix up what they learn.
#[derive(Debug)]
pub struct Seen {
    places: [Place; PLACES],
    used: AtomicBool,
}

/// The address, and in `known` the bytes of the table's entry for it and the bits below. Nothing is known: zero, whatever the
/// address.
#[derive(Debug)]
struct Place {
    addr: AtomicU64,
    known: AtomicU64,
}

/// The entry is known.
const ENTRY: u64 = 1 << 48;
/// A call ends right behind the address, in a function.
const FUNCTION: u64 = 1 << 49;
/// Likewise, in entry code.
const ENTRY_CODE: u64 = 1 << 50;

impl Default for Seen {
    fn default() -> Seen {
        Seen::new()
    }
}

impl Seen {
    /// Nothing is known yet.
    pub const fn new() -> Seen {
        let places = [const { Place { addr: AtomicU64::new(0), known: AtomicU64::new(0) } }; PLACES];
        Seen { places, used: AtomicBool::new(false) }
    }

    /// Forgets everything.
    pub fn forget(&self) {
        if self.used.load(Ordering::Relaxed) {
            self.used.store(false, Ordering::Relaxed);
            self.places.iter().for_each(|place| place.known.store(0, Ordering::Relaxed));
        }
    }

    /// The code that a return address leads to, if it was [`set`](Self::set_call_site) before.
    #[inline]
    fn call_site(&self, pc: Addr) -> Option<Code> {
        match self.known(pc.wrapping_sub(1)) {
            known if known & FUNCTION != 0 => Some(Code::Function),
            known if known & ENTRY_CODE != 0 => Some(Code::Entry),
            _ => None,
        }
    }

    /// Remembers that a call precedes `pc`, in this code.
    fn set_call_site(&self, pc: Addr, code: Code) {
        match code {
            Code::Function => self.learn(pc.wrapping_sub(1), FUNCTION),
            Code::Entry => self.learn(pc.wrapping_sub(1), ENTRY_CODE),
            _ => {}
        }
    }

    /// The table's entry for the code at `pc`, if it was [`set`](Self::set_entry) before.
    #[inline]
    fn entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        let known = self.known(pc);
        let [a, b, c, d, e, f, ..] = known.to_le_bytes();
        (known & ENTRY != 0).then_some([a, b, c, d, e, f])
    }

    /// Remembers the table's entry for the code at `pc`.
    fn set_entry(&self, pc: Addr, entry: [u8; UnwindTable::ENTRY_SIZE]) {
        let [a, b, c, d, e, f] = entry;
        self.learn(pc, u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | ENTRY);
    }

    #[inline]
    fn place(&self, addr: Addr) -> &Place {
        // Fibonacci hashing, as for tasks.
        let hash = addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES.ilog2());
        &self.places[usize::try_from(hash).unwrap_or(0) % PLACES]
    }

    #[inline]
    fn known(&self, addr: Addr) -> u64 {
        let place = self.place(addr);
        if place.addr.load(Ordering::Relaxed) == addr { place.known.load(Ordering::Relaxed) } else { 0 }
    }

    fn learn(&self, addr: Addr, what: u64) {
        let known = self.known(addr);
        let place = self.place(addr);
        place.addr.store(addr, Ordering::Relaxed);
        place.known.store(known | what, Ordering::Relaxed);
        self.used.store(true, Ordering::Relaxed);
    }
}

/// A machine, and what walks of it have learnt.
#[derive(Clone, Copy, Debug)]
pub struct Remembered<'a, M> {
    /// The machine.
    pub machine: &'a M,
    /// Of this machine only.
    pub seen: &'a Seen,
}

impl<M: Machine> Remembered<'_, M> {
    #[cold]
    fn find_entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        let entry = self.machine.unwind_entry(pc)?;
        if self.machine.is_permanent(pc) {
            self.seen.set_entry(pc, entry);
        }
        Some(entry)
    }
}

impl<M: Machine> Memory for Remembered<'_, M> {
    #[inline]
    fn word(&self, addr: Addr) -> Option<u64> {
        self.machine.word(addr)
    }
}

impl<M: Machine> Machine for Remembered<'_, M> {
    const REMEMBERS: bool = true;

    fn code(&self, pc: Addr) -> Code {
        self.machine.code(pc)
    }

    fn return_trampoline(&self, pc: Addr) -> Option<ReturnTrampoline> {
        self.machine.return_trampoline(pc)
    }

    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        self.machine.text(addr, bytes)
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        self.machine.pending_return(keeper, nth)
    }

    #[inline]
    fn unwind_info(&self) -> UnwindInfo {
        self.machine.unwind_info()
    }

    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>> {
        self.machine.unwind_table(pc)
    }

    fn is_permanent(&self, pc: Addr) -> bool {
        self.machine.is_permanent(pc)
    }

    #[inline]
    fn unwind_entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        self.seen.entry(pc).or_else(|| self.find_entry(pc))
    }

    #[inline]
    fn known_entry(&self, pc: Addr) -> Option<[u8; UnwindTable::ENTRY_SIZE]> {
        self.seen.entry(pc)
    }

    #[inline]
    fn call_site(&self, pc: Addr) -> Option<Code> {
        self.seen.call_site(pc)
    }

    fn set_call_site(&self, pc: Addr, code: Code) {
        // Of the text that the call is in.
        if self.machine.is_permanent(pc.wrapping_sub(1)) {
            self.seen.set_call_site(pc, code);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const PC: Addr = 0xffff_ffff_8123_4567;

    #[test]
    fn what_was_learnt_is_known_until_it_is_forgotten() {
        let (seen, entry) = (Seen::new(), [1, 2, 3, 4, 5, 255]);
        assert_eq!((seen.call_site(PC), seen.entry(PC - 1)), (None, None));
        seen.set_call_site(PC, Code::Entry);
        assert_eq!((seen.call_site(PC), seen.entry(PC - 1)), (Some(Code::Entry), None));
        seen.set_entry(PC - 1, entry);
        assert_eq!((seen.call_site(PC), seen.entry(PC - 1)), (Some(Code::Entry), Some(entry)));
        assert_eq!((seen.call_site(PC - 1), seen.call_site(PC + 1)), (None, None));
        assert_eq!((seen.entry(PC - 2), seen.entry(PC)), (None, None));
        seen.forget();
        assert_eq!((seen.call_site(PC), seen.entry(PC - 1)), (None, None));
        seen.set_entry(PC - 1, entry);
        assert_eq!(seen.call_site(PC), None, "what was forgotten does not come back");
    }

    #[test]
    fn an_address_takes_the_place_of_another_and_never_its_knowledge() {
        let seen = Seen::new();
        for step in 0..4 * PLACES as u64 {
            let [a, b, c, d, e, f, ..] = step.to_le_bytes();
            let (pc, entry) = (PC + 16 * step, [a, b, c, d, e, f]);
            assert_eq!((seen.call_site(pc), seen.entry(pc - 1)), (None, None));
            seen.set_entry(pc - 1, entry);
            assert_eq!((seen.call_site(pc), seen.entry(pc - 1)), (None, Some(entry)));
            seen.set_call_site(pc, Code::Function);
            assert_eq!((seen.call_site(pc), seen.entry(pc - 1)), (Some(Code::Function), Some(entry)));
        }
    }

    #[test]
    fn two_addresses_of_one_place_are_told_apart() {
        let seen = Seen::new();
        let other = (1..).map(|i| PC + i).find(|&pc| core::ptr::eq(seen.place(pc), seen.place(PC)));
        let other = other.expect("there are more addresses than places");
        seen.set_entry(PC, [1; 6]);
        seen.set_call_site(PC + 1, Code::Function);
        assert_eq!((seen.entry(other), seen.call_site(other + 1)), (None, None));
        seen.set_entry(other, [2; 6]);
        assert_eq!((seen.entry(other), seen.call_site(other + 1)), (Some([2; 6]), None));
        assert_eq!((seen.entry(PC), seen.call_site(PC + 1)), (None, None));
    }

    #[test]
    fn an_empty_place_says_nothing_of_address_zero() {
        let seen = Seen::new();
        for forgets in [false, true] {
            if forgets {
                // Each place is used.
                (0..64 * PLACES as u64).for_each(|i| seen.set_call_site(PC + i, Code::Function));
                assert!(seen.places.iter().all(|place| place.known.load(Ordering::Relaxed) != 0));
                seen.forget();
            }
            for pc in [0, 1] {
                assert_eq!((seen.call_site(pc), seen.entry(pc)), (None, None));
            }
        }
    }

    #[test]
    fn only_good_return_addresses_are_remembered() {
        let seen = Seen::new();
        let trampolines = ReturnTrampoline::ALL.map(Code::ReturnTrampoline);
        for code in [Code::NotText, Code::Discarded, Code::Generated].into_iter().chain(trampolines) {
            seen.set_call_site(PC, code);
            assert_eq!(seen.call_site(PC), None);
        }
    }
}
