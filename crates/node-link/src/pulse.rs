//! Whether the other side of a connection lives. Who connected asks when it has heard nothing for a while; so
//! both sides hear something at least so often, and both give up a connection on which they do not.

use std::{future::Future, time::Duration};

use crate::Settings;

/// Whether the other side lives.
pub(crate) struct Pulse {
    heard: Duration,
    asked: bool,
    keepalive: Duration,
    silence: Duration,
}

/// What is to be done about the other side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing.
    Fine,
    /// Ask the other side whether it lives.
    Ask,
    /// Give it up.
    Dead,
}

impl Pulse {
    pub(crate) fn new(now: Duration, settings: &Settings) -> Pulse {
        let keepalive = Duration::from_millis(settings.keepalive_ms);
        Pulse { heard: now, asked: false, keepalive, silence: Duration::from_millis(settings.silence_ms) }
    }

    /// The other side has said something.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard = now;
        self.asked = false;
    }

    /// Waits until something may be to be done.
    pub(crate) fn next(&self, now: Duration) -> impl Future<Output = ()> + Send + use<> {
        world::time::sleep(self.wait(now))
    }

    /// How long that is. Never much longer than until the next question: the answer to the last one moves that.
    fn wait(&self, now: Duration) -> Duration {
        if self.asked {
            self.keepalive.min((self.heard + self.silence).saturating_sub(now))
        } else {
            (self.heard + self.keepalive).saturating_sub(now)
        }
    }

    /// What is to be done at `now`.
    pub(crate) fn beat(&mut self, now: Duration) -> Beat {
        let quiet = now.saturating_sub(self.heard);
        if quiet >= self.silence {
            Beat::Dead
        } else if quiet >= self.keepalive && !self.asked {
            self.asked = true;
            Beat::Ask
        } else {
            Beat::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_asked_about_once_and_then_given_up() {
        let settings = Settings { keepalive_ms: 10, silence_ms: 40, ..Settings::default() };
        let at = Duration::from_millis;
        let mut pulse = Pulse::new(at(100), &settings);
        assert_eq!(
            [109, 110, 111, 139].map(|ms| pulse.beat(at(ms))),
            [Beat::Fine, Beat::Ask, Beat::Fine, Beat::Fine]
        );
        assert_eq!([111, 135].map(|ms| pulse.wait(at(ms))), [at(10), at(5)]);
        pulse.heard(at(139));
        assert_eq!(pulse.wait(at(141)), at(8));
        assert_eq!([140, 149, 179].map(|ms| pulse.beat(at(ms))), [Beat::Fine, Beat::Ask, Beat::Dead]);
    }
}
