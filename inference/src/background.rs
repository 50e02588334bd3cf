//! Threads that compute for long, and let those go first that answer.
//!
//! A node's votes, streams and checks take little time each and must be in time; its models and proofs take all the time that
//! there is. On two cores with 200 streams under way, the place of the computing threads decides what a gateway beside them adds
//! to an answer (`docs/benchmarks.md`).

/// Puts the calling thread behind all others of this machine: on Linux it is `SCHED_IDLE` from here on, which gives way the moment
/// that another thread wakes, and shares what is left with others of its kind.
///
/// Whoever runs other busy programs beside a node gives the node a control group of its own, as each service of systemd has:
/// between groups, shares of the processor are as they are set, whatever the threads in them.
pub fn enter() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy::Idle, ThreadPriority::Min, ThreadSchedulePolicy::Normal,
            set_thread_priority_and_policy, thread_native_id,
        };
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), Min, Normal(Idle)) {
            tracing::warn!(?error, "a computing thread cannot be put behind those that answer");
        }
    }
}

/// Does the same with the threads that a process's proofs and matrices share; to be called before there are any.
pub fn share() {
    if let Err(error) = rayon::ThreadPoolBuilder::new().start_handler(|_| enter()).build_global() {
        tracing::warn!(%error, "the computing threads are as they were");
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    /// `SCHED_IDLE`
    const IDLE: &str = "5";

    #[test]
    fn a_thread_in_the_background_is_idle_to_the_system_and_others_are_not() {
        // The 41st field, of which the first two end with the last bracket: proc(5).
        let policy = || {
            let all = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            all.rsplit_once(") ").unwrap().1.split(' ').nth(38).unwrap().to_owned()
        };
        let behind = std::thread::spawn(move || {
            super::enter();
            policy()
        });
        assert_eq!(behind.join().unwrap(), IDLE);
        assert_ne!(policy(), IDLE);
    }
}
