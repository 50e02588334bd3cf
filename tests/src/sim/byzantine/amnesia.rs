//! A node without a memory of what it signed: after each failure it has neither its log nor its watermark.

use super::Vice;

/// The vice.
pub(super) struct Amnesia;

impl Vice for Amnesia {
    fn name(&self) -> &'static str {
        "amnesia"
    }

    fn forgets(&self) -> bool {
        true
    }
}
