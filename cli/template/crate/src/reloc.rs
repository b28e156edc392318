// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Relocations of __name__ modules.

use klp_core::Relocate;
use klp_core::reloc::{ByWay, RelocError, Relocation};

use crate::__Type__;

/// Relocation types.
pub mod r_type {
    // Fact::Relocations
    klp_core::reloc_types! { "":
        /// Nothing is written.
        NONE = 0;
    }
}

impl Relocate for __Type__ {
    const ABSOLUTE: u32 = u32::MAX;

    /// Refused, but for the type that writes nothing.
    fn relocate(relocation: &Relocation, _code: &mut [u8]) -> Result<usize, RelocError> {
        match relocation.r_type {
            r_type::NONE => Ok(0),
            other => Err(RelocError::UnknownType(other)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        r_type::name(r_type)
    }

    fn by_way(_r_type: u32) -> ByWay {
        ByWay::None
    }
}
