// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Carries out short code as a disassembler reads it: where does it end, and what has it changed?

use std::cell::RefCell;
use std::collections::BTreeMap;

use klp_core::Addr;

use super::oracle::{Insn, Oracle};

/// More instructions than any slot carries out.
const MAX_INSNS: usize = 32;

/// What an instruction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Execution continues behind it.
    Insn,
    /// Execution continues at this address: in the code, or it leaves it.
    At(Addr),
    /// The instruction at this address is carried out as if it were here.
    Execute(Addr),
}

/// Registers, and the memory that holds the code.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The address of the instruction that is carried out.
    pub pc: Addr,
    registers: BTreeMap<String, u64>,
    stores: BTreeMap<Addr, u64>,
    loads: RefCell<Vec<Addr>>,
    at: Addr,
    code: Vec<u8>,
    big_endian: bool,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Where execution left to.
    pub pc: Addr,
    /// The state then.
    pub machine: Machine,
    /// The text of the first instruction.
    pub first: String,
}

impl Machine {
    /// A machine whose memory is `code` at `at`. Every register has a value of its own.
    pub fn new(at: Addr, code: &[u8], big_endian: bool) -> Machine {
        Machine {
            pc: at,
            registers: BTreeMap::new(),
            stores: BTreeMap::new(),
            loads: RefCell::default(),
            at,
            code: code.to_vec(),
            big_endian,
        }
    }

    /// A register's value.
    pub fn get(&self, register: &str) -> u64 {
        self.registers.get(register).copied().unwrap_or_else(|| Machine::initial(register))
    }

    /// A register's value before the code ran: something that nothing can be built on by chance, and a multiple of 16.
    pub fn initial(register: &str) -> u64 {
        let hash = register.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash & !0xf
    }

    /// Sets a register.
    pub fn set(&mut self, register: &str, value: u64) {
        self.registers.insert(register.to_owned(), value);
    }

    /// The registers whose value is not what it was.
    pub fn changed(&self) -> Vec<&str> {
        let changed = |(name, value): &(&String, &u64)| **value != Machine::initial(name);
        self.registers.iter().filter(changed).map(|(name, _)| name.as_str()).collect()
    }

    /// Stores a doubleword.
    pub fn store(&mut self, addr: Addr, value: u64) {
        self.stores.insert(addr, value);
    }

    /// The addresses of all doublewords that were stored.
    pub fn stores(&self) -> impl Iterator<Item = Addr> {
        self.stores.keys().copied()
    }

    /// How often the doubleword at `addr` was loaded.
    pub fn loads_of(&self, addr: Addr) -> usize {
        self.loads.borrow().iter().filter(|load| **load == addr).count()
    }

    /// The doubleword at `addr`, if it was stored or is in the code.
    pub fn load(&self, addr: Addr) -> Option<u64> {
        self.loads.borrow_mut().push(addr);
        if let Some(value) = self.stores.get(&addr) {
            return Some(*value);
        }
        let offset = usize::try_from(addr.checked_sub(self.at)?).ok()?;
        let bytes = *self.code.get(offset..)?.first_chunk::<8>()?;
        Some(if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// Runs until execution leaves by a branch.
    ///
    /// # Errors
    ///
    /// An instruction that the disassembler or `effect` does not know; code that ends otherwise.
    pub fn run(
        mut self,
        oracle: &dyn Oracle,
        effect: fn(&mut Machine, &Insn) -> Option<Next>,
    ) -> Result<End, String> {
        let first = self.insn(oracle, self.pc)?.text;
        for _ in 0..MAX_INSNS {
            let mut insn = self.insn(oracle, self.pc)?;
            let behind = self.pc.wrapping_add(insn.len as u64);
            let mut next = effect(&mut self, &insn);
            if let Some(Next::Execute(addr)) = next {
                insn = self.insn(oracle, addr)?;
                next = effect(&mut self, &insn);
            }
            self.pc = match next {
                Some(Next::Insn) => behind,
                Some(Next::At(pc)) => pc,
                Some(Next::Execute(_)) | None => {
                    return Err(format!("'{}' at {:#x} has no place here", insn.text, self.pc));
                }
            };
            let inside = self.pc.wrapping_sub(self.at) < self.code.len() as u64;
            if !inside && matches!(next, Some(Next::At(_))) {
                return Ok(End { pc: self.pc, machine: self, first });
            }
        }
        Err("execution does not leave the code".to_owned())
    }

    /// The instruction at `addr`.
    fn insn(&self, oracle: &dyn Oracle, addr: Addr) -> Result<Insn, String> {
        let offset = usize::try_from(addr.wrapping_sub(self.at)).unwrap_or(usize::MAX);
        let Some(code) = self.code.get(offset..).filter(|code| !code.is_empty()) else {
            return Err(format!("execution runs off the code, to {addr:#x}"));
        };
        oracle.insn(addr, code).ok_or_else(|| format!("{} knows no instruction at {addr:#x}", oracle.name()))
    }
}

/// A number as disassemblers write it: `0x1f`, `#0x1f`, `-8`, `$+0x10`.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim_start_matches(['#', '$']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.trim_start_matches('+')),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number("#0x1f"), Some(31));
        assert_eq!(number("$-0x8"), Some(8_u64.wrapping_neg()));
        assert_eq!(number("$+0x8"), Some(8));
        assert_eq!(number("-8"), Some(8_u64.wrapping_neg()));
        assert_eq!(number("x8"), None);
    }

    #[test]
    fn memory_has_the_byte_order_of_the_machine() {
        let code = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Machine::new(0x1000, &code, true).load(0x1000), Some(0x0102_0304_0506_0708));
        assert_eq!(Machine::new(0x1000, &code, false).load(0x1000), Some(0x0807_0605_0403_0201));
        assert_eq!(Machine::new(0x1000, &code, false).load(0x1001), None);
    }
}
