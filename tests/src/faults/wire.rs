//! A wire that loses frames, or is long and thin, where the kernel has no `netem`: this program carries them.
//!
//! ```text
//! bridge ── device `from` ── a thread reads ── (lost | at once | queue: rate, then delay) ── a thread writes ── device `to` ── bridge
//! ```
//!
//! Both devices are TAPs, which hand frames over whole and with their checksums. A wire ends with its devices.
#![allow(unsafe_code)] // there is no other way to open a TAP

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use eyre::{WrapErr as _, bail};

/// A frame that would wait longer for its turn is lost.
const QUEUE: Duration = Duration::from_secs(1);
/// More than any frame has.
const FRAME: usize = 64 << 10;

/// What becomes of frames in one direction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// They come through.
    Free,
    /// They do not.
    Lost,
    /// They wait for their turn, so many bits a second, and then for so long.
    Slow { delay: Duration, bits: u32 },
}

/// A wire between two devices, which it makes.
pub(super) struct Wire<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) there: Way,
    pub(super) back: Way,
}

impl Wire<'_> {
    /// Makes the devices, and carries frames until they are removed.
    pub(super) fn lay(self) -> eyre::Result<()> {
        let (from, to) = (tap(self.from)?, tap(self.to)?);
        carry(from.try_clone()?, to.try_clone()?, self.there);
        carry(to, from, self.back);
        Ok(())
    }
}

fn tap(name: &str) -> eyre::Result<File> {
    let device = File::options().read(true).write(true).open("/dev/net/tun");
    let device = device.wrap_err("cannot open /dev/net/tun; its owner has to allow that")?;
    // The name, which ends with a zero, and flags.
    let mut request = [0_u8; size_of::<libc::ifreq>()];
    if name.len() >= libc::IFNAMSIZ {
        bail!("{name:?} is too long for a device");
    }
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = u16::try_from(libc::IFF_TAP | libc::IFF_NO_PI)?;
    request[libc::IFNAMSIZ..libc::IFNAMSIZ + 2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes one `ifreq`, whose size `request` has, and keeps no pointer to it.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).wrap_err_with(|| format!("cannot make the device {name}"));
    }
    Ok(device)
}

/// Starts threads for one direction; they end with the devices.
fn carry(mut from: File, mut to: File, way: Way) {
    let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (when, frame) in due {
            thread::sleep(when.saturating_duration_since(Instant::now()));
            // A device that is not up yet takes none.
            let _ = to.write_all(&frame);
        }
    });
    thread::spawn(move || {
        let (mut buffer, mut free) = (vec![0; FRAME], Instant::now());
        while let Ok(length) = from.read(&mut buffer) {
            let now = Instant::now();
            let when = match way {
                Way::Lost => continue,
                Way::Free => now,
                Way::Slow { .. } if free.saturating_duration_since(now) > QUEUE => continue,
                Way::Slow { delay, bits } => {
                    free = free.max(now) + Duration::from_secs_f64(length as f64 * 8.0 / f64::from(bits));
                    free + delay
                }
            };
            if queue.send((when, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
}
