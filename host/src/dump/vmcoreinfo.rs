// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! VMCOREINFO: what a kernel tells debuggers about itself, a text of `KEY=value` lines in its memory
//! (`Documentation/admin-guide/kdump/vmcoreinfo.rst`).

use std::collections::HashMap;

use anyhow::Result;

use super::physical::Physical;

/// The lines, by key.
#[derive(Clone, Debug, Default)]
pub struct VmcoreInfo(HashMap<String, String>);

/// A page holds all of it, however large the kernel's pages are.
const SIZE: usize = 64 * 1024;

/// How the text starts.
const START: &str = "OSRELEASE=";

impl VmcoreInfo {
    /// Finds the text. `None` if there is none.
    pub(crate) fn find(memory: &Physical) -> Result<Option<VmcoreInfo>> {
        let mut info = None;
        memory.find(START.as_bytes(), |addr| {
            info = read(memory, addr).as_deref().and_then(VmcoreInfo::parse);
            info.is_none()
        })?;
        Ok(info)
    }

    /// Takes the text apart. Much in memory starts like it: `None` unless it is whole lines with what every kernel says.
    pub(super) fn parse(text: &str) -> Option<VmcoreInfo> {
        let lines = text.strip_suffix('\n')?.lines();
        let pairs: Option<HashMap<String, String>> = lines
            .map(|line| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect();
        let info = VmcoreInfo(pairs?);
        let whole = info.get("PAGESIZE").is_some() && info.symbol("_stext").is_some();
        whole.then_some(info)
    }

    /// A line's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The address of a symbol (`SYMBOL(name)=hex`).
    pub fn symbol(&self, name: &str) -> Option<u64> {
        hex(self.get(&format!("SYMBOL({name})"))?)
    }

    /// A number (`NUMBER(name)=`, decimal or hexadecimal with 0x).
    pub fn number(&self, name: &str) -> Option<i128> {
        let text = self.get(&format!("NUMBER({name})"))?;
        if text.starts_with("0x") { hex(text).map(i128::from) } else { text.parse().ok() }
    }

    /// A line with a bare hexadecimal number (`KERNELOFFSET=hex`).
    pub fn hex(&self, key: &str) -> Option<u64> {
        hex(self.get(key)?)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// The text at a physical address, up to its end.
fn read(memory: &Physical, addr: u64) -> Option<String> {
    let mut text = Vec::new();
    while text.len() < SIZE {
        let mut bytes = [0; 64];
        if !memory.read(addr.wrapping_add(text.len() as u64), &mut bytes) {
            return None;
        }
        let end = bytes.iter().position(|byte| *byte == 0);
        text.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if end.is_some() {
            return String::from_utf8(text).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "OSRELEASE=6.1.0-x\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff86400000\nNUMBER(phys_base)=-4096\n\
                        NUMBER(kimage_voffset)=0xffff800000000000\nKERNELOFFSET=5400000\n";

    #[test]
    fn values_are_read_as_each_kind_is_written() {
        let info = VmcoreInfo::parse(TEXT).expect("whole");
        assert_eq!(info.get("OSRELEASE"), Some("6.1.0-x"));
        assert_eq!(info.symbol("_stext"), Some(0xffff_ffff_8640_0000));
        assert_eq!(info.number("phys_base"), Some(-4096));
        assert_eq!(info.number("kimage_voffset"), Some(0xffff_8000_0000_0000));
        assert_eq!(info.hex("KERNELOFFSET"), Some(0x540_0000));
        assert_eq!(info.symbol("absent"), None);
    }

    #[test]
    fn what_only_starts_like_it_is_none() {
        assert!(VmcoreInfo::parse("OSRELEASE=%s\n").is_none());
        assert!(VmcoreInfo::parse("OSRELEASE=6.1\nPAGESIZE=4096\nrubbish\n").is_none());
        assert!(VmcoreInfo::parse(&TEXT[..TEXT.len() - 3]).is_none(), "cut off");
    }
}
