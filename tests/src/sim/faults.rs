//! What goes wrong, and when: drawn from the seed.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    net::{Net, Weather},
    node::Machine,
};

/// A machine that fails does so within so many steps, about two heights' worth.
const STEPS: u64 = 150;

/// How a run goes wrong. Every seed has a temper of its own, so that some runs are calm and others have no rest.
pub(super) struct Faults {
    random: ChaCha8Rng,
    /// Milliseconds between two faults, about.
    pause: u64,
    /// The most messages of 1000 that are lost.
    lossy: u32,
    /// Out of 100 faults, how many are of machines; the others are of links.
    machines: u32,
    next: Duration,
    /// When links heal, if some are cut.
    heal: Option<Duration>,
    /// When a machine that is off is started again, by its number.
    restart: Vec<Option<Duration>>,
    /// Machines that failed.
    pub(super) failures: u64,
    /// Times that links were cut.
    pub(super) partitions: u64,
}

impl Faults {
    /// The faults of a seed, for so many machines.
    pub(super) fn new(seed: u64, machines: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        Self {
            pause: random.gen_range(800..6000),
            lossy: [0, 10, 50, 150][random.gen_range(0..4)],
            machines: random.gen_range(20..90),
            next: Duration::ZERO,
            heal: None,
            restart: vec![None; machines],
            failures: 0,
            partitions: 0,
            random,
        }
    }

    fn milliseconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.gen_range(range))
    }

    /// What is due is put right: links heal, and machines that were found off are started.
    pub(super) async fn mend(&mut self, now: Duration, machines: &mut [Machine], net: &Net) -> eyre::Result<()> {
        if self.heal.is_some_and(|heal| heal <= now) {
            self.heal = None;
            net.set_links(|_, _| false);
        }
        self.notice(now, machines);
        for (machine, at) in machines.iter_mut().zip(&mut self.restart) {
            if at.is_some_and(|at| at <= now) {
                *at = None;
                machine.start().await?;
            }
        }
        Ok(())
    }

    /// What is due goes wrong.
    pub(super) fn pass(&mut self, now: Duration, machines: &[Machine], net: &Net) {
        if self.next <= now {
            let pause = self.pause;
            self.next = now + self.milliseconds(pause / 2..pause * 2);
            self.strike(now, machines, net);
        }
    }

    /// Machines whose power has failed are started again after a while.
    fn notice(&mut self, now: Duration, machines: &mut [Machine]) {
        for (at, machine) in machines.iter_mut().enumerate() {
            if machine.clear(&mut self.random) {
                self.failures += 1;
                self.restart[at] = Some(now + self.milliseconds(50..6000));
            }
        }
    }

    fn strike(&mut self, now: Duration, machines: &[Machine], net: &Net) {
        let count = machines.len();
        let delay = self.random.gen_range(1..20)..self.random.gen_range(30..400);
        let (lost, doubled) = (self.random.gen_range(0..=self.lossy), self.random.gen_range(0..30));
        net.set_weather(Weather { lost, doubled, delay });
        if self.random.gen_ratio(self.machines, 100) {
            // Seldom many at once.
            let all = self.random.gen_ratio(1, 12);
            let one = self.random.gen_range(0..count);
            for (at, machine) in machines.iter().enumerate() {
                if at == one || (all && self.random.gen_bool(0.8)) {
                    let later = (self.random.gen_range(0..STEPS), self.random.gen_bool(0.5));
                    machine.fail(self.random.gen_bool(0.8).then_some(later));
                }
            }
            return;
        }
        self.partitions += 1;
        self.heal = Some(now + self.milliseconds(200..8000));
        let one = self.random.gen_range(0..count);
        match self.random.gen_range(0..4) {
            // One is alone.
            0 => net.set_links(|from, to| from == one || to == one),
            // One hears nothing, and is heard.
            1 => net.set_links(|_, to| to == one),
            // One is heard by nobody, and hears.
            2 => net.set_links(|from, _| from == one),
            // Two sides.
            _ => {
                let side: Vec<bool> = (0..count).map(|_| self.random.gen_bool(0.5)).collect();
                net.set_links(|from, to| side[from] != side[to]);
            }
        }
    }

    /// No more faults: all machines up, all links whole.
    pub(super) async fn end(&mut self, machines: &mut [Machine], net: &Net) -> eyre::Result<()> {
        self.heal = None;
        self.restart.fill(None);
        net.set_links(|_, _| false);
        net.set_weather(Weather::fair());
        for machine in &mut *machines {
            // A fuse may still burn: its machine fails now, and starts with the others.
            if machine.has_fuse() {
                machine.fail(None);
            }
            if machine.clear(&mut self.random) {
                self.failures += 1;
            }
            if !machine.is_up() {
                machine.start().await?;
            }
        }
        Ok(())
    }
}
