//! Whether the engine lives and the chain moves, and if not, why, in words.

use std::time::Duration;

use assay_consensus::bft::EngineStatus;

/// Least silence that is called a stall.
const STALL: Duration = Duration::from_secs(30);
/// How long the engine's network may not have answered. Its own watch ends the node sooner, if that still runs.
const UNANSWERED: Duration = Duration::from_secs(30);
/// How long the application may take over one message of the engine's.
const AT_ONE: Duration = Duration::from_secs(60);

/// How long nothing new may come.
fn patience(block_interval: Duration) -> Duration {
    STALL.max(block_interval * 20)
}

/// `Ok` while the engine answers, with peers or without; otherwise the reason.
pub(super) fn answers(status: &EngineStatus) -> Result<(), String> {
    let unanswered = status.answered.elapsed();
    if unanswered > UNANSWERED {
        return Err(format!(
            "the block engine's network has not answered for {} s; restart the node, and see its log",
            unanswered.as_secs()
        ));
    }
    if let Some(busy) = status.busy_since.map(|since| since.elapsed()).filter(|busy| *busy > AT_ONE) {
        return Err(format!(
            "the block engine has waited for the chain's state for {} s; look at the disk and the load, then restart the node",
            busy.as_secs()
        ));
    }
    if status.mute {
        return Err("no block comes and the block engine does not say why; restart the node, and see its log".into());
    }
    Ok(())
}

/// `Ok` when the chain moves; otherwise the reason.
pub(super) fn judge(status: &EngineStatus, block_interval: Duration) -> Result<(), String> {
    let silent = status.last_progress.elapsed();
    let patience = patience(block_interval);
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

/// `Ok` if the last block is so young that there cannot be many after it; otherwise the reason. Times are since the Unix epoch.
pub(super) fn fresh(tip: u64, time: Duration, now: Duration, block_interval: Duration) -> Result<(), String> {
    if tip == 0 {
        return Err("there is no block yet: validators begin at genesis time, with more than two thirds of their power; a node that \
                    joins later has to find peers first"
            .into());
    }
    let age = now.saturating_sub(time);
    if age > patience(block_interval) {
        return Err(format!(
            "the last block here, {tip}, is {} s old: this node has to catch up, the chain stands still, or this machine's clock \
             is wrong; wait, then look at its peers and its clock",
            age.as_secs()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn status(silent: u64, peers: usize, syncing: bool) -> Option<EngineStatus> {
        let last_progress = Instant::now().checked_sub(Duration::from_secs(silent))?;
        Some(EngineStatus {
            height: 5,
            round: 0,
            peers,
            validator: true,
            syncing,
            last_progress,
            answered: Instant::now(),
            busy_since: None,
            mute: false,
        })
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
        // Each of them answers.
        assert!([fresh, alone, stuck, behind].iter().all(|status| answers(status).is_ok()));
    }

    #[test]
    fn an_engine_that_does_not_answer_or_does_not_come_back_says_so() {
        let (Some(well), Some(long)) = (status(1, 3, false), Instant::now().checked_sub(Duration::from_secs(61)))
        else {
            return;
        };
        let unanswered = EngineStatus { answered: long, ..well.clone() };
        assert!(answers(&unanswered).is_err_and(|why| why.contains("has not answered for 61 s")));
        let busy = EngineStatus { busy_since: Some(long), ..well.clone() };
        assert!(answers(&busy).is_err_and(|why| why.contains("chain's state for 61 s")));
        assert_eq!(answers(&EngineStatus { busy_since: Some(Instant::now()), ..well.clone() }), Ok(()));
        assert!(answers(&EngineStatus { mute: true, ..well }).is_err());
    }

    #[test]
    fn a_last_block_that_is_old_or_is_none_says_so() {
        let [second, now] = [1, 1_000_000].map(Duration::from_secs);
        let ago = |seconds| now.saturating_sub(Duration::from_secs(seconds));
        assert_eq!(fresh(5, ago(20), now, second), Ok(()));
        assert!(fresh(5, ago(31), now, second).is_err_and(|why| why.contains("31 s old")));
        // Patience is twenty blocks.
        assert_eq!(fresh(5, ago(99), now, Duration::from_secs(5)), Ok(()));
        assert!(fresh(0, ago(0), now, second).is_err_and(|why| why.contains("no block yet")));
        // A chain that begins later has none either.
        assert!(fresh(0, now + second, now, second).is_err_and(|why| why.contains("no block yet")));
    }
}
