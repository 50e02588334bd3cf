//! A running hash of everything that happens, in order: equal for two runs only if they were the same.

use borsh::BorshSerialize;

use super::virtual_machine;

/// One thing that happened.
#[derive(BorshSerialize)]
pub(super) enum Happening<'a> {
    /// A message was sent, and arrives after so many milliseconds, or never.
    Sent { from: u8, to: u8, kind: u8, bytes: &'a [u8], arrives: Option<u64> },
    /// A block was committed.
    Committed { node: u8, height: u64, round: u32, block: [u8; 32], state_root: [u8; 32] },
    /// A machine was started.
    Started { node: u8, height: u64 },
    /// A machine was found off.
    Failed { node: u8 },
    /// Links were cut or healed: for each sender, the receivers that do not hear it.
    Links { deaf: &'a [u64] },
    /// A client's transaction was taken, or not.
    Submitted { node: u8, taken: bool },
}

/// The hash so far.
#[derive(Clone, Default)]
pub(super) struct Trace(blake3::Hasher);

impl Trace {
    /// Adds what happened now.
    pub(super) fn add(&mut self, happening: &Happening<'_>) {
        let now = u64::try_from(virtual_machine::elapsed().as_nanos()).unwrap_or(u64::MAX);
        // A hasher takes whatever is written to it.
        let _ = (now, happening).serialize(&mut self.0);
    }

    /// The hash, in short.
    pub(super) fn show(&self) -> String {
        self.0.finalize().to_hex()[..16].to_string()
    }
}
