//! Machines with a network of their own, made of the kernel's namespaces: no packet leaves the one that is tested on.
//!
//! ```text
//! v1 eth0 10.77.0.1 ──┐
//! v2 eth0 10.77.0.2 ──┤ bridge `left`, or `right` for those on the other side of a partition
//! ...                 │
//! vN mgmt 10.78.N.2 ── 10.78.N.1 here: RPC is seen whatever happens to the network of validators
//! ```

use std::{net::IpAddr, os::unix::process::CommandExt as _, process::Command};

use eyre::{WrapErr as _, bail, ensure};

/// Says to a program that it runs in namespaces of its own.
const INSIDE: &str = "ASSAY_TESTS_INSIDE";

/// The sides of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where all are while nothing is wrong.
    Left,
    /// The other one.
    Right,
}

impl Side {
    fn bridge(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// So many machines. They end with the program.
#[derive(Debug)]
pub struct Namespaces(usize);

/// A command of one line.
fn run(line: &str) -> eyre::Result<()> {
    let mut words = line.split(' ');
    let output =
        Command::new(words.next().unwrap_or_default()).args(words).output().wrap_err_with(|| line.to_owned())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

impl Namespaces {
    /// Makes machines, numbered from 0. The first time it starts this program again in namespaces of its own, where it is root
    /// whoever started it; so it is to be called before anything else is done.
    ///
    /// # Errors
    /// If the kernel or its owner does not allow that.
    pub fn new(machines: usize) -> eyre::Result<Self> {
        if std::env::var_os(INSIDE).is_none() {
            let mut again = Command::new("unshare");
            again.args(["-Urnm", "--"]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
            let error = again.env(INSIDE, "1").exec();
            bail!("cannot start in namespaces of its own: {error}; install util-linux and iproute2");
        }
        ensure!((1..=200).contains(&machines), "expected 1 to 200 machines");
        run("mount -t tmpfs tmpfs /run").wrap_err("the kernel allows no namespaces to this user")?;
        run("ip link set lo up")?;
        for side in [Side::Left, Side::Right] {
            run(&format!("ip link add {} type bridge", side.bridge()))?;
            run(&format!("ip link set {} up", side.bridge()))?;
        }
        let all = Self(machines);
        for i in 0..machines {
            let (name, n) = (all.name(i), i + 1);
            run(&format!("ip netns add {name}"))?;
            run(&format!("ip link add a{n} type veth peer name eth0 netns {name}"))?;
            run(&format!("ip link add m{n} type veth peer name mgmt netns {name}"))?;
            run(&format!("ip link set a{n} master left up"))?;
            run(&format!("ip addr add 10.78.{n}.1/24 dev m{n}"))?;
            run(&format!("ip link set m{n} up"))?;
            run(&format!("ip -n {name} link set lo up"))?;
            run(&format!("ip -n {name} addr add {}/24 dev eth0", all.address(i)))?;
            run(&format!("ip -n {name} link set eth0 up"))?;
            run(&format!("ip -n {name} addr add {}/24 dev mgmt", all.managed(i)))?;
            run(&format!("ip -n {name} link set mgmt up"))?;
        }
        Ok(all)
    }

    /// The namespace of a machine.
    pub fn name(&self, i: usize) -> String {
        format!("v{}", i + 1)
    }

    /// Where the others find it.
    pub fn address(&self, i: usize) -> IpAddr {
        IpAddr::from([10, 77, 0, Self::number(i)])
    }

    /// Where it is found from here, whatever happens to the others' network.
    pub fn managed(&self, i: usize) -> IpAddr {
        IpAddr::from([10, 78, Self::number(i), 2])
    }

    fn number(i: usize) -> u8 {
        u8::try_from(i + 1).unwrap_or(u8::MAX)
    }

    /// Puts each machine on a side, in their order; those that are not named are on the left.
    ///
    /// # Errors
    /// The kernel's.
    pub fn part(&self, sides: &[Side]) -> eyre::Result<()> {
        for i in 0..self.0 {
            let side = sides.get(i).copied().unwrap_or(Side::Left);
            run(&format!("ip link set a{} master {}", i + 1, side.bridge()))?;
        }
        Ok(())
    }

    /// Takes a machine's link down, or puts it up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link(&self, i: usize, up: bool) -> eyre::Result<()> {
        run(&format!("ip link set a{} {}", i + 1, if up { "up" } else { "down" }))
    }
}
