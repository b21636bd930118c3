//! `dump`: when sessions and connections would end if nothing more were heard, and the ephemeral znodes.
//!
//! ZooKeeper keeps both in sets that end together, at the next tick; here each ends at a moment of its
//! own, and those are told together that end within the same second, which is what a date shows.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write},
};

use crate::{
    hub::Hub,
    link::{Link, Phase},
};

pub(super) fn dump(hub: &Hub, text: &mut String) -> fmt::Result {
    let (wall_ms, now_ms) = (hub.wall_ms(), hub.now_ms());
    let end_of = |in_ms: u64| wall_ms.saturating_add_unsigned(in_ms);
    // Before the state is locked: a connection's own lock comes first.
    let links: Vec<_> = hub.links().into_iter().map(|link| (session_of(&link), link)).collect();
    let (mut sessions, mut connections) = (Ends::default(), Ends::default());
    let state = hub.lock();
    let ends: BTreeMap<i64, i64> =
        state.sessions.ends().map(|(id, at_ms)| (id, end_of(at_ms.saturating_sub(now_ms)))).collect();
    for (id, end_ms) in &ends {
        sessions.add(*end_ms, format!("0x{id:x}"));
    }
    for (session, link) in &links {
        let greeted_until_ms = link.since_ms.saturating_add_unsigned(hub.settings.connections.handshake_ms);
        let end_ms = session.and_then(|session| ends.get(&session)).copied().unwrap_or(greeted_until_ms);
        let shown = format!("ip: /{} sessionId: 0x{:x}", link.guest.peer, session.unwrap_or(0));
        connections.add(end_ms, shown);
    }
    let tree = &state.replica.tree;
    write!(text, "SessionTracker dump:\nSession {sessions}ephemeral nodes dump:\n")?;
    writeln!(text, "Sessions with Ephemerals ({}):", tree.owners().len())?;
    for session in tree.owners() {
        writeln!(text, "0x{session:x}:")?;
        tree.ephemerals(session).try_for_each(|path| writeln!(text, "\t{path}"))?;
    }
    write!(text, "Connections dump:\nConnections {connections}")
}

fn session_of(link: &Link) -> Option<i64> {
    match link.phase() {
        Phase::Live(live) => Some(live.session),
        Phase::Connecting | Phase::Over => None,
    }
}

/// What ends, by the second, of those since 1970, at whose beginning it has ended.
#[derive(Default)]
struct Ends(BTreeMap<i64, Vec<String>>);

impl Ends {
    fn add(&mut self, end_ms: i64, what: String) {
        let second = end_ms.div_euclid(1000) + i64::from(end_ms.rem_euclid(1000) > 0);
        self.0.entry(second).or_default().push(what);
    }
}

impl Display for Ends {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "Sets ({})/({}):", self.0.len(), self.0.values().map(Vec::len).sum::<usize>())?;
        for (second, all) in &self.0 {
            writeln!(out, "{} expire at {}:", all.len(), Date(*second))?;
            all.iter().try_for_each(|one| writeln!(out, "\t{one}"))?;
        }
        Ok(())
    }
}

/// A second since 1970, shown as Java shows a date, in UTC.
struct Date(i64);

impl Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
        let (days, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let weekday = DAYS[days.rem_euclid(7) as usize];
        // Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin with March.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let year = year + era * 400 + i64::from(month >= 10);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let month = MONTHS[month as usize];
        write!(out, "{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_java() {
        for (second, shown) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
            (951_782_400, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_709_251_199, "Thu Feb 29 23:59:59 UTC 2024"),
            (1_709_251_200, "Fri Mar 01 00:00:00 UTC 2024"),
            (1_795_501_436, "Tue Nov 24 06:23:56 UTC 2026"),
            (4_107_542_399, "Sun Feb 28 23:59:59 UTC 2100"),
            (4_107_542_400, "Mon Mar 01 00:00:00 UTC 2100"),
        ] {
            assert_eq!(Date(second).to_string(), shown, "{second}");
        }
    }

    #[test]
    fn what_ends_within_a_second_is_told_together() {
        let mut ends = Ends::default();
        for (end_ms, what) in [(1_001, "a"), (2_001, "b"), (2_000, "c"), (1_000, "d")] {
            ends.add(end_ms, what.to_owned());
        }
        let shown = ends.to_string();
        let lines: Vec<&str> = shown.lines().filter(|line| !line.contains("expire")).collect();
        assert_eq!(lines, ["Sets (3)/(4):", "\td", "\ta", "\tc", "\tb"]);
        assert!(shown.contains("2 expire at Thu Jan 01 00:00:02 UTC 1970:\n\ta\n\tc\n"), "{shown}");
    }
}
