//! A limited good that strangers share: all of them together have so much, and no address more than half of it.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Bits of an IPv6 address that name a subscriber; the rest is the subscriber's own to choose.
const SUBSCRIBER: u32 = 64;

/// So much of something, and who has how much of it.
#[derive(Debug)]
pub(super) struct Shares {
    whole: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// Why nobody gets more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The address has half of it.
    Address,
    /// All is given out.
    Whole,
}

impl Shares {
    pub(super) fn of(whole: usize) -> Arc<Self> {
        Arc::new(Self { whole, held: Mutex::default() })
    }

    pub(super) fn whole(&self) -> usize {
        self.whole
    }

    /// What one address may have.
    pub(super) fn each(&self) -> usize {
        self.whole.div_ceil(2)
    }

    /// Nothing yet for `who`; see [`Share::grow`].
    pub(super) fn share(self: &Arc<Self>, who: IpAddr) -> Share {
        Share { of: Arc::clone(self), who: subscriber(who), amount: 0 }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        // What is held is right after every step of those below.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom an address stands for: itself, or the network of one IPv6 subscriber.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> SUBSCRIBER << SUBSCRIBER).into(),
        v4 => v4,
    }
}

/// What one has; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Shares>,
    who: IpAddr,
    amount: usize,
}

impl Share {
    /// Takes `more`, or nothing.
    ///
    /// # Errors
    /// [`Full`] if there is not so much left, in all or for this address.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Full> {
        let mut held = self.of.held();
        let own = held.by.get(&self.who).copied().unwrap_or(0);
        if own.saturating_add(more) > self.of.each() {
            return Err(Full::Address);
        }
        if held.all.saturating_add(more) > self.of.whole {
            return Err(Full::Whole);
        }
        if more > 0 {
            held.by.insert(self.who, own + more);
        }
        held.all += more;
        self.amount += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held();
        held.all -= self.amount;
        if let Entry::Occupied(mut own) = held.by.entry(self.who) {
            *own.get_mut() -= self.amount;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_gets_half_and_all_get_the_whole() {
        let shares = Shares::of(10);
        let [a, b, c] = ["10.0.0.1", "::ffff:10.0.0.2", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let mut first = shares.share(a);
        assert_eq!((first.grow(5), first.grow(1)), (Ok(()), Err(Full::Address)));
        // The same address in its other form, and another of the same subscriber.
        assert_eq!(shares.share("::ffff:10.0.0.1".parse().unwrap()).grow(1), Err(Full::Address));
        let mut second = shares.share(b);
        assert_eq!(second.grow(5), Ok(()));
        assert_eq!(shares.share(c).grow(1), Err(Full::Whole));
        drop(first);
        let mut third = shares.share(c);
        assert_eq!(third.grow(5), Ok(()));
        assert_eq!(shares.share("2001:db8::2".parse().unwrap()).grow(1), Err(Full::Address));
        assert_eq!(shares.share(a).grow(usize::MAX), Err(Full::Address));
        drop((second, third));
        assert!(shares.held().by.is_empty() && shares.held().all == 0);
    }

    proptest! {
        /// Whatever is taken and given back, the sum is what stands, within its bounds.
        #[test]
        fn what_is_held_is_what_was_taken(whole in 1_usize..50, steps in prop::collection::vec((0_u8..4, 0_usize..30, any::<bool>()), 0..60)) {
            let shares = Shares::of(whole);
            let mut open: Vec<Share> = Vec::new();
            for (who, more, ends) in steps {
                let who = IpAddr::from([10, 0, 0, who]);
                if ends && !open.is_empty() {
                    open.remove(more % open.len());
                } else {
                    let mut share = shares.share(who);
                    let _ = share.grow(more);
                    open.push(share);
                }
                let held = shares.held();
                prop_assert_eq!(held.all, open.iter().map(|share| share.amount).sum::<usize>());
                prop_assert_eq!(held.all, held.by.values().sum::<usize>());
                prop_assert!(held.all <= whole && held.by.values().all(|own| *own <= shares.each()));
            }
        }
    }
}
