//! A thread whose clock and randomness are given: with the same seed it does the same things, process after process.
//!
//! Four functions of the C library are put in front of the real ones. On other threads they call those; on a thread of
//! [`run`] they answer from its seed and its own clock:
//!
//! | function | who calls it | what it does here |
//! |---|---|---|
//! | `getrandom` | the standard library's hash maps, newer `getrandom` crates | bytes drawn from the seed |
//! | `syscall` | older `getrandom` crates | the same, for `SYS_getrandom` |
//! | `clock_gettime` | every `Instant` and `SystemTime` | the thread's own clock, which stands still while it works |
//! | `epoll_wait` | tokio, when no task can go on | the clock jumps to the next timer, and nobody waits |
//!
//! So everything that asks for the time sees one clock, crates of others included, and hours pass in seconds. What this
//! cannot make repeatable is a second thread: nothing that is simulated may start one, or wait for one.
#![allow(unsafe_code)] // only a symbol of the C library's name and kind can stand in its place

use std::{
    cell::Cell,
    ffi::{CStr, c_int, c_long, c_uint, c_void},
    mem::transmute,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// What the wall clock shows when a run begins, in seconds since the Unix epoch.
pub const EPOCH_SECONDS: u64 = 1_700_000_000;

/// What the other clocks show then, in seconds: a machine that has been up for a while.
const UPTIME_SECONDS: u64 = 100_000;

/// Stack of a run's thread.
const STACK: usize = 16 << 20;

thread_local! {
    /// Whether this thread is simulated.
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    /// Nanoseconds since the run began.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// Nanoseconds that a look at the clock takes.
    static LOOK: Cell<u64> = const { Cell::new(0) };
    /// The state that random bytes are drawn from.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Runs `work` on a thread of its own, with virtual time and with all randomness from `seed`.
///
/// # Errors
/// What it panicked with.
pub fn run<T: Send + 'static>(seed: u64, work: impl FnOnce() -> T + Send + 'static) -> thread::Result<T> {
    let simulated = move || {
        RANDOM.set(seed);
        SIMULATED.set(true);
        calibrate();
        let done = work();
        SIMULATED.set(false);
        done
    };
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(simulated)
        .map_err(|e| Box::new(e) as Box<dyn std::any::Any + Send>)
        .and_then(|run| run.join())
}

/// The engine's limits on rates measure by the processor's counter, and before its first use compare that with the clock
/// until enough time has passed. On a clock that stands still it would never end; here it takes a few looks. What it then
/// measures means nothing, and no limit may depend on it.
fn calibrate() {
    LOOK.set(1_000_000_000);
    let _ = governor::clock::DefaultClock::default();
    LOOK.set(0);
    NOW.set(0);
}

/// Virtual time since the run began.
pub fn elapsed() -> Duration {
    Duration::from_nanos(NOW.get())
}

/// The next eight bytes: splitmix64.
fn draw() -> u64 {
    let state = RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A function of the C library that one of ours stands in front of.
struct Real {
    name: &'static CStr,
    /// Where it is; 0 until it was looked for. Two threads may look at once, and find the same.
    address: AtomicUsize,
}

impl Real {
    const fn named(name: &'static CStr) -> Self {
        Self { name, address: AtomicUsize::new(0) }
    }

    fn address(&self) -> usize {
        match self.address.load(Ordering::Relaxed) {
            0 => {
                // SAFETY: the name ends with a zero byte.
                let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) } as usize;
                assert!(found != 0, "the C library has no {:?}", self.name);
                self.address.store(found, Ordering::Relaxed);
                found
            }
            known => known,
        }
    }
}

static GETRANDOM: Real = Real::named(c"getrandom");
static SYSCALL: Real = Real::named(c"syscall");
static CLOCK_GETTIME: Real = Real::named(c"clock_gettime");
static EPOLL_WAIT: Real = Real::named(c"epoll_wait");

/// As the C library's.
///
/// # Safety
/// As the C library's: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if !SIMULATED.get() {
        // SAFETY: the function of that name has this signature; the arguments are the caller's.
        return unsafe {
            let real: unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize = transmute(GETRANDOM.address());
            real(buffer, length, flags)
        };
    }
    for at in (0..length).step_by(8) {
        let bytes = draw().to_le_bytes();
        // SAFETY: the caller's buffer has room for `length` bytes, and no more are written.
        unsafe { buffer.cast::<u8>().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len().min(length - at)) };
    }
    length as isize
}

/// As the C library's; its callers give up to six arguments after the number.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if SIMULATED.get() && number == libc::SYS_getrandom {
        // SAFETY: the arguments of this call are a buffer, its length and flags.
        return unsafe { getrandom(a as *mut c_void, b as usize, c as c_uint) as c_long };
    }
    // SAFETY: on the machines that this runs on, a variadic function takes its first arguments where others do, so that
    // all seven reach it as they came; it uses those that belong to the number.
    unsafe {
        type Call = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;
        let real: Call = transmute(SYSCALL.address());
        real(number, a, b, c, d, e, f)
    }
}

/// As the C library's.
///
/// # Safety
/// As the C library's: `time` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    if !SIMULATED.get() {
        // SAFETY: the function of that name has this signature; the arguments are the caller's.
        return unsafe {
            let real: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int =
                transmute(CLOCK_GETTIME.address());
            real(clock, time)
        };
    }
    NOW.set(NOW.get() + LOOK.get());
    let start = if clock == libc::CLOCK_REALTIME { EPOCH_SECONDS } else { UPTIME_SECONDS };
    let now = Duration::from_secs(start) + elapsed();
    let shown = libc::timespec { tv_sec: now.as_secs() as libc::time_t, tv_nsec: now.subsec_nanos() as c_long };
    // SAFETY: the caller gives a place for the time.
    unsafe { time.write(shown) };
    0
}

/// As the C library's, but a simulated thread never waits: if nothing has happened, its clock jumps.
///
/// # Safety
/// As the C library's: `events` has room for `most`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    most: c_int,
    milliseconds: c_int,
) -> c_int {
    // SAFETY: the function of that name has this signature; the arguments are the caller's.
    let real = |milliseconds| unsafe {
        let real: unsafe extern "C" fn(c_int, *mut libc::epoll_event, c_int, c_int) -> c_int =
            transmute(EPOLL_WAIT.address());
        real(epoll, events, most, milliseconds)
    };
    // A thread without a timer waits for another thread, as at the end of a runtime: that is not simulated.
    let Ok(jump) = u64::try_from(milliseconds) else { return real(milliseconds) };
    if !SIMULATED.get() {
        return real(milliseconds);
    }
    let happened = real(0);
    if happened == 0 {
        NOW.set(NOW.get() + jump * 1_000_000);
    }
    happened
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        time::{Instant, SystemTime},
    };

    use rand::{RngCore as _, rngs::OsRng};

    use super::*;

    fn hour() -> (Vec<u32>, u64, u128, u128) {
        let (began, wall) = (Instant::now(), SystemTime::now());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async { tokio::time::sleep(Duration::from_secs(3600)).await });
        let order = (0..100u32).map(|n| (n, ())).collect::<HashMap<_, _>>().into_keys().collect();
        let wall = wall.elapsed().expect("the clock goes forward").as_millis();
        (order, OsRng.next_u64(), began.elapsed().as_millis(), wall)
    }

    #[test]
    fn a_seed_gives_one_order_of_hash_maps_one_draw_and_one_clock() {
        let began = Instant::now();
        let [first, second, other] = [1, 1, 2].map(|seed| run(seed, hour).expect("no panic"));
        assert_eq!(first, second);
        assert!(first.0 != other.0 && first.1 != other.1);
        assert_eq!((first.2, first.3), (3_600_000, 3_600_000));
        assert!(began.elapsed() < Duration::from_secs(60), "an hour took {:?}", began.elapsed());
    }
}
