//! Links that look alive and carry no gossip.
//!
//! Two nodes that dial each other at the same moment have two connections, and close one of them. What gossip had said on that
//! one first, the topics that a node wants to hear, is lost, and never said again while the other connection lasts. Votes then
//! go by way of others only; when those are cut off, nobody hears this node. Such a peer is in no topic's mesh although there
//! is room for it, and it is dialled anew.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use malachitebft_app_channel::app::net::{Multiaddr, PeerId};

/// As long as fewer peers are in the mesh, gossip takes every one that it can.
const FEW: usize = 4;
/// How long a peer may be connected outside of the mesh.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when peers have been connected for nothing.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<PeerId, Instant>);

/// A connected peer.
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    /// Whether gossip goes to it.
    pub(super) meshed: bool,
}

impl Links {
    /// The addresses of `peers` that have been connected for nothing too long by now, each once in ten seconds.
    pub(super) fn dead(&mut self, links: &[Link], peers: &[Multiaddr], now: Instant) -> Vec<Multiaddr> {
        let few = links.iter().filter(|link| link.meshed).count() < FEW;
        let idle = |link: &&Link| few && !link.meshed && peers.contains(&link.address);
        let idle: Vec<&Link> = links.iter().filter(idle).collect();
        self.0.retain(|peer, _| idle.iter().any(|link| link.peer == *peer));
        let mut dead = Vec::new();
        for link in idle {
            let since = self.0.entry(link.peer).or_insert(now);
            if now.duration_since(*since) >= PATIENCE {
                *since = now;
                dead.push(link.address.clone());
            }
        }
        dead
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(n: usize) -> Multiaddr {
        format!("/ip4/10.0.0.{n}/tcp/1").parse().unwrap()
    }

    fn links(meshed: &[bool], ids: &[PeerId]) -> Vec<Link> {
        let link = |(n, meshed): (usize, &bool)| Link { peer: ids[n], address: address(n), meshed: *meshed };
        meshed.iter().enumerate().map(link).collect()
    }

    #[test]
    fn a_peer_that_stays_outside_a_small_mesh_is_dialled_anew_and_again_later() {
        let ids: Vec<PeerId> = (0..6).map(|_| PeerId::random()).collect();
        let (peers, start) = ([address(0), address(1)], Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut all = Links::default();
        // The third is nobody that this node dials.
        let half = links(&[true, false, false], &ids);
        assert!(all.dead(&half, &peers, at(0)).is_empty());
        assert!(all.dead(&half, &peers, at(9)).is_empty());
        assert_eq!(all.dead(&half, &peers, at(10)), [address(1)]);
        assert!(all.dead(&half, &peers, at(11)).is_empty());
        assert_eq!(all.dead(&half, &peers, at(20)), [address(1)]);
        // Well again, and ill again: the time begins anew.
        assert!(all.dead(&links(&[true, true, true], &ids), &peers, at(25)).is_empty());
        assert!(all.dead(&half, &peers, at(31)).is_empty());
        assert!(all.dead(&half, &peers, at(40)).is_empty());
        // A mesh that is large enough leaves others out.
        let large = links(&[false, true, true, true, true], &ids);
        assert!(all.dead(&large, &peers, at(50)).is_empty());
        assert!(all.dead(&large, &peers, at(90)).is_empty());
    }
}
