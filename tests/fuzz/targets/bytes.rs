//! Bytes of the fuzzer, read as choices. Those that are missing are zero.

use std::borrow::Cow;

/// What is left of them.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let drawn = if end <= 256 { usize::from(self.byte()) } else { usize::from(self.short()) };
        drawn.checked_rem(end).unwrap_or(0)
    }

    /// Numbers at which programs break, near another one or far from any.
    pub fn number(&mut self, near: u64) -> u64 {
        match self.byte() % 12 {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - 1,
            4 => near.wrapping_add(1),
            5 => near.wrapping_sub(1),
            6 => near.wrapping_add(u64::from(self.byte())),
            7 => near.wrapping_sub(u64::from(self.byte())),
            8 => i64::MAX as u64,
            9 => 1 << (self.byte() % 64),
            10 => near.wrapping_mul(2),
            _ => u64::from(self.short()),
        }
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many as a first byte says, as text.
    pub fn text(&mut self) -> Cow<'a, str> {
        let count = usize::from(self.byte());
        String::from_utf8_lossy(self.take(count))
    }
}
