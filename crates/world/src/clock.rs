//! Time: the wall clock, which may jump, and the boot clock, which never goes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A clock. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real,
    Sim(Arc<Sim>),
}

#[derive(Debug)]
struct Sim {
    wall_micros: AtomicU64,
    boot_micros: AtomicU64,
}

impl Clock {
    /// The machine's clocks.
    pub fn real() -> Clock {
        Clock(Kind::Real)
    }

    /// A clock that moves only by [`Clock::advance`] and [`Clock::jump_to`].
    pub fn simulated(wall_micros: u64) -> Clock {
        Clock(Kind::Sim(Arc::new(Sim { wall_micros: wall_micros.into(), boot_micros: 0.into() })))
    }

    /// Microseconds since 1970. May jump either way.
    pub fn wall_micros(&self) -> u64 {
        match &self.0 {
            Kind::Real => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64),
            Kind::Sim(sim) => sim.wall_micros.load(Ordering::Relaxed),
        }
    }

    /// Time since some fixed moment, never going back, and counting while the machine sleeps:
    /// `CLOCK_BOOTTIME`, because std's `Instant` stands still in suspend, and a lease that
    /// outlives a suspended laptop is a lease held twice.
    pub fn boot(&self) -> Duration {
        match &self.0 {
            Kind::Real => boot_time(),
            Kind::Sim(sim) => Duration::from_micros(sim.boot_micros.load(Ordering::Relaxed)),
        }
    }

    /// Moves a simulated clock on.
    ///
    /// # Panics
    /// On a real clock.
    pub fn advance(&self, by: Duration) {
        let sim = self.sim();
        sim.wall_micros.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
        sim.boot_micros.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
    }

    /// Sets a simulated wall clock, as an operator or NTP would; the boot clock goes on.
    ///
    /// # Panics
    /// On a real clock.
    pub fn jump_to(&self, wall_micros: u64) {
        self.sim().wall_micros.store(wall_micros, Ordering::Relaxed);
    }

    fn sim(&self) -> &Sim {
        match &self.0 {
            Kind::Real => panic!("only a simulated clock is moved by hand"),
            Kind::Sim(sim) => sim,
        }
    }
}

#[allow(unsafe_code, reason = "std has no CLOCK_BOOTTIME")]
fn boot_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the call to fill.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    assert_eq!(code, 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_jumps_and_the_boot_clock_does_not() {
        let clock = Clock::simulated(1_000_000);
        clock.advance(Duration::from_secs(1));
        clock.jump_to(5);
        assert_eq!(clock.wall_micros(), 5);
        assert_eq!(clock.boot(), Duration::from_secs(1));
    }

    #[test]
    fn the_real_boot_clock_moves_forward() {
        let clock = Clock::real();
        let before = clock.boot();
        assert!(clock.boot() >= before);
        assert!(clock.wall_micros() > 1_600_000_000_000_000);
    }
}
