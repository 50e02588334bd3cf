//! Whether the node does its duty, and if not, why, in words.

use std::time::Duration;

use assay_consensus::bft::EngineStatus;

/// Least silence that is called a stall.
const STALL: Duration = Duration::from_secs(30);

/// `Ok` when the chain moves; otherwise the reason.
pub(super) fn judge(status: &EngineStatus, block_interval: Duration) -> Result<(), String> {
    let silent = status.last_progress.elapsed();
    let patience = STALL.max(block_interval * 20);
    if silent > patience && status.peers == 0 {
        return Err(format!(
            "no block for {} s and no consensus peer is connected; check peers.consensus in config.toml and the network",
            silent.as_secs()
        ));
    }
    if silent > patience {
        return Err(format!(
            "no block for {} s with {} consensus peers connected; fewer than two thirds of the voting power may be online",
            silent.as_secs(),
            status.peers
        ));
    }
    if status.syncing {
        return Err("catching up with the chain; wait until it has reached the tip".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn status(silent: u64, peers: usize, syncing: bool) -> Option<EngineStatus> {
        let last_progress = Instant::now().checked_sub(Duration::from_secs(silent))?;
        Some(EngineStatus { height: 5, round: 0, peers, validator: true, syncing, last_progress })
    }

    #[test]
    fn a_moving_chain_is_healthy_and_a_silent_or_syncing_one_says_why() {
        let second = Duration::from_secs(1);
        // A machine that has been up for less than the silence cannot represent it.
        let (Some(fresh), Some(alone), Some(stuck), Some(behind)) =
            (status(1, 3, false), status(100, 0, false), status(100, 2, false), status(1, 3, true))
        else {
            return;
        };
        assert_eq!(judge(&fresh, second), Ok(()));
        assert!(judge(&alone, second).is_err_and(|why| why.contains("no consensus peer")));
        assert!(judge(&stuck, second).is_err_and(|why| why.contains("two thirds")));
        assert!(judge(&behind, second).is_err_and(|why| why.contains("catching up")));
    }
}
