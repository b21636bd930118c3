//! Settings: the file, the `--set` flags over it, and what becomes of them.
//!
//! Each room keeps its own settings struct with defaults and reasons; this one names those that a
//! user may set, in the words of the file. `docs/settings.md` lists them.

use std::path::Path;

use serde::Deserialize;

use crate::{
    cli::Door,
    exit::{Exit, Refusal},
    tls::{self, Offer},
};

/// Everything a user may set. Absent is the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    cluster: Cluster,
    memory: Memory,
    log: Log,
    engine: Engine,
    cql: Cql,
    zookeeper: ZooKeeper,
    http: Http,
    tls: tls::Section,
    node: tls::Peers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Cluster {
    name: Option<String>,
    region: Option<String>,
    zone: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Memory {
    budget_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    segment_bytes: Option<u64>,
    max_record_bytes: Option<u64>,
    queue_bytes: Option<u64>,
    gather_us: Option<u64>,
    prepare_bytes: Option<u64>,
    keep_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Engine {
    cache_bytes: Option<usize>,
    memtable_bytes: Option<usize>,
    block_bytes: Option<usize>,
    file_bytes: Option<u64>,
    level_bytes: Option<u64>,
    compression: Option<Compression>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compression {
    None,
    Lz4,
    Zstd,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Cql {
    filtering: Option<Filtering>,
    filtering_rows: Option<u64>,
    filtering_bytes: Option<u64>,
    filtering_ms: Option<u64>,
    read_ms: Option<u64>,
    range_read_ms: Option<u64>,
    max_frame_bytes: Option<usize>,
    connections: Option<u32>,
    tls: Offer,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Filtering {
    Strict,
    Bounded,
    Permissive,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ZooKeeper {
    tick_ms: Option<u32>,
    min_session_ticks: Option<u32>,
    max_session_ticks: Option<u32>,
    message_bytes: Option<usize>,
    answer_bytes: Option<usize>,
    in_flight: Option<usize>,
    watch_bytes: Option<usize>,
    cache_bytes: Option<usize>,
    reap_ms: Option<u32>,
    enforce_quota: Option<bool>,
    super_digest: Option<String>,
    four_letter_words: Option<Vec<String>>,
    connections: Option<u32>,
    tls: Offer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    tls: Offer,
}

/// The rooms' own settings.
pub(crate) struct Rooms {
    pub(crate) fabric: fabric::Settings,
    pub(crate) cql: door_cql::Settings,
    pub(crate) zookeeper: door_zk::Settings,
}

/// Zstandard's own default: higher ones write slower for little.
const ZSTD_LEVEL: u8 = 3;

impl Engine {
    fn lay(&self, tree: &mut fabric::TreeSettings) -> Result<(), Refusal> {
        set("engine.cache_bytes", &mut tree.cache_bytes, self.cache_bytes, |_| true)?;
        let memtable = self.memtable_bytes;
        set("engine.memtable_bytes", &mut tree.memtable_bytes, memtable, within(64 << 10, 1 << 30))?;
        set("engine.block_bytes", &mut tree.block_bytes, self.block_bytes, within(512, 1 << 20))?;
        let least = (tree.block_bytes as u64).max(64 << 10);
        set("engine.file_bytes", &mut tree.file_bytes, self.file_bytes, within(least, 1 << 30))?;
        set("engine.level_bytes", &mut tree.level_bytes, self.level_bytes, within(64 << 10, 1 << 40))?;
        let compression = self.compression.map(|compression| match compression {
            Compression::None => fabric::Compression::None,
            Compression::Lz4 => fabric::Compression::Lz4,
            Compression::Zstd => fabric::Compression::Zstd { level: ZSTD_LEVEL },
        });
        set("engine.compression", &mut tree.compression, compression, |_| true)
    }
}

impl Settings {
    /// What each room is given: its defaults, and what was set.
    pub(crate) fn rooms(&self) -> Result<Rooms, Refusal> {
        let mut fabric = fabric::Settings::default();
        set("cluster.name", &mut fabric.cluster_name, self.cluster.name.clone(), |name| !name.is_empty())?;
        let (place, cluster) = (&mut fabric.locality, &self.cluster);
        let is_name = |name: &String| (1..=255).contains(&name.len());
        set("cluster.region", &mut place.region, cluster.region.clone(), is_name)?;
        set("cluster.zone", &mut place.zone, cluster.zone.clone(), is_name)?;
        set("memory.budget_bytes", &mut fabric.memory_budget_bytes, self.memory.budget_bytes, |n| {
            *n >= 1 << 20
        })?;
        let log = &mut fabric.log;
        set("log.segment_bytes", &mut log.segment_bytes, self.log.segment_bytes, within(256 << 10, 1 << 30))?;
        set(
            "log.max_record_bytes",
            &mut log.max_record_bytes,
            self.log.max_record_bytes,
            within(1 << 10, 16 << 20),
        )?;
        set("log.queue_bytes", &mut log.queue_bytes, self.log.queue_bytes, within(64 << 10, 1 << 30))?;
        set("log.gather_us", &mut log.gather_us, self.log.gather_us, within(0, 10_000))?;
        set("log.prepare_bytes", &mut log.prepare_bytes, self.log.prepare_bytes, within(0, 32 << 20))?;
        set("log.keep_bytes", &mut fabric.log_keep_bytes, self.log.keep_bytes, within(64 << 10, 1 << 40))?;
        self.engine.lay(&mut fabric.tree)?;

        let mut cql = door_cql::Settings::default();
        let filtering = self.cql.filtering.map(|filtering| match filtering {
            Filtering::Strict => door_cql::Filtering::Strict,
            Filtering::Bounded => door_cql::Filtering::Bounded,
            Filtering::Permissive => door_cql::Filtering::Permissive,
        });
        set("cql.filtering", &mut cql.filtering, filtering, |_| true)?;
        set(
            "cql.filtering_rows",
            &mut cql.filtering_rows,
            self.cql.filtering_rows,
            within(1, 1_000_000_000_000),
        )?;
        set(
            "cql.filtering_bytes",
            &mut cql.filtering_bytes,
            self.cql.filtering_bytes,
            within(1 << 10, 1 << 40),
        )?;
        set("cql.filtering_ms", &mut cql.filtering_ms, self.cql.filtering_ms, within(1, 3_600_000))?;
        set("cql.read_ms", &mut cql.read_ms, self.cql.read_ms, within(1, 3_600_000))?;
        set("cql.range_read_ms", &mut cql.range_read_ms, self.cql.range_read_ms, within(1, 3_600_000))?;
        set(
            "cql.max_frame_bytes",
            &mut cql.max_frame_bytes,
            self.cql.max_frame_bytes,
            within(64 << 10, 256 << 20),
        )?;
        set("cql.connections", &mut cql.limits.connections, self.cql.connections, within(1, 1_000_000))?;

        let mut zk = door_zk::Settings::default();
        let given = &self.zookeeper;
        set("zookeeper.tick_ms", &mut zk.tick_ms, given.tick_ms, within(10, 60_000))?;
        set(
            "zookeeper.min_session_ticks",
            &mut zk.min_session_ticks,
            given.min_session_ticks,
            within(1, 1_000),
        )?;
        let shortest = zk.min_session_ticks;
        set(
            "zookeeper.max_session_ticks",
            &mut zk.max_session_ticks,
            given.max_session_ticks,
            within(shortest, 100_000),
        )?;
        set(
            "zookeeper.message_bytes",
            &mut zk.message_bytes,
            given.message_bytes,
            within(1 << 10, 64 << 20),
        )?;
        set("zookeeper.answer_bytes", &mut zk.answer_bytes, given.answer_bytes, within(64 << 10, 1 << 30))?;
        set("zookeeper.in_flight", &mut zk.in_flight, given.in_flight, within(1, 100_000))?;
        set("zookeeper.watch_bytes", &mut zk.watch_bytes, given.watch_bytes, within(64 << 10, 1 << 40))?;
        zk.cache_bytes = fabric.memory_budget_bytes / 8;
        set("zookeeper.cache_bytes", &mut zk.cache_bytes, given.cache_bytes, |_| true)?;
        set("zookeeper.reap_ms", &mut zk.reap_ms, given.reap_ms, within(10, 86_400_000))?;
        set("zookeeper.enforce_quota", &mut zk.enforce_quota, given.enforce_quota, |_| true)?;
        set(
            "zookeeper.super_digest",
            &mut zk.super_digest,
            given.super_digest.clone().map(Some),
            |digest| digest.as_ref().is_none_or(|digest| digest.contains(':')),
        )?;
        set(
            "zookeeper.four_letter_words",
            &mut zk.four_letter_words,
            given.four_letter_words.clone(),
            |_| true,
        )?;
        set(
            "zookeeper.connections",
            &mut zk.connections.connections,
            given.connections,
            within(1, 1_000_000),
        )?;
        Ok(Rooms { fabric, cql, zookeeper: zk })
    }

    /// What a door is to offer.
    pub(crate) fn tls(&self, door: Door) -> Offer {
        match door {
            Door::Cql => self.cql.tls,
            Door::ZooKeeper => self.zookeeper.tls,
            Door::Http => self.http.tls,
            // It has certificates of its own, and never speaks without.
            Door::Node => Offer::Off,
        }
    }

    /// The certificates they need for it, if any.
    pub(crate) fn certificates(&self) -> Result<Option<tls::Plan>, Refusal> {
        let offers = Door::ALL.map(|door| (door.name(), self.tls(door)));
        self.tls.plan(&offers)
    }

    /// Where the certificates for other nodes are, if there may be any.
    pub(crate) fn peers(&self) -> Result<Option<::tls::CertificateFiles>, Refusal> {
        self.node.files()
    }

    /// Reads the file, if any, and lays the flags over it.
    pub(crate) fn read(file: Option<&Path>, flags: &[String]) -> Result<Settings, Refusal> {
        let mut table = match file {
            None => toml::Table::new(),
            Some(path) => {
                let text = read_text(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
                text.parse().map_err(|error| wrong(format!("{}: {error}", path.display())))?
            }
        };
        for flag in flags {
            lay(&mut table, flag)?;
        }
        table.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))
    }
}

#[allow(clippy::disallowed_methods, reason = "the settings file is read once, before there is a world")]
fn read_text(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// Lays `name.of.it=value` over the table. A value that is not TOML is taken as text, so that
/// `cql.filtering=strict` needs no quotes.
fn lay(table: &mut toml::Table, flag: &str) -> Result<(), Refusal> {
    let (name, value) =
        flag.split_once('=').ok_or_else(|| wrong(format!("--set {flag}: expected NAME=VALUE")))?;
    let (section, key) = name
        .split_once('.')
        .ok_or_else(|| wrong(format!("--set {flag}: a name has the form section.name")))?;
    let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("v"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let section =
        section.as_table_mut().ok_or_else(|| wrong(format!("--set {flag}: {name} is no section")))?;
    section.insert(key.to_owned(), value);
    Ok(())
}

/// Sets one setting if it was given and is within its range.
pub(crate) fn set<T: std::fmt::Debug>(
    name: &str,
    place: &mut T,
    given: Option<T>,
    allowed: impl Fn(&T) -> bool,
) -> Result<(), Refusal> {
    let Some(given) = given else { return Ok(()) };
    if !allowed(&given) {
        return Err(wrong(format!("{name} = {given:?} is out of its range (docs/settings.md)")));
    }
    *place = given;
    Ok(())
}

/// For [`set`]: from the least to the most.
pub(crate) fn within<T: PartialOrd>(least: T, most: T) -> impl Fn(&T) -> bool {
    move |given| (&least..=&most).contains(&given)
}

/// The refusal of a setting.
pub(crate) fn wrong(message: String) -> Refusal {
    Refusal::new(Exit::Settings, format!("settings: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> Result<Settings, Refusal> {
        Settings::read(None, &flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_typed_and_unknown_names_are_refused() {
        let settings = read(&["cql.filtering=strict", "memory.budget_bytes=2000000"]).and_then(|s| s.rooms());
        let rooms = settings.expect("known names");
        assert_eq!(rooms.cql.filtering, door_cql::Filtering::Strict);
        assert_eq!(rooms.fabric.memory_budget_bytes, 2_000_000);
        for wrong in ["cql.filterin=strict", "memory.budget_bytes=many", "x", "x=y", "nothing.at_all=1"] {
            let refusal = read(&[wrong]).expect_err(wrong);
            assert_eq!(refusal.exit, Exit::Settings);
        }
        for (given, wanted) in [
            (&["zookeeper.tls=optional"][..], "zookeeper.tls needs tls.certificate"),
            (&["tls.certificate=a"], "tls.key"),
            (&["tls.key=a"], "tls.certificate"),
            (&["tls.client_ca=a"], "tls.certificate"),
            (&["tls.certificate=a", "tls.key=b", "tls.client_auth=want"], "tls.client_ca"),
            (&["node.certificate=a", "node.key=b"], "node.ca"),
            (&["tls.certificate=a", "tls.key=b", "tls.reload_ms=1"], "tls.reload_ms"),
        ] {
            let refusal = read(given).and_then(|settings| {
                settings.certificates()?;
                settings.peers().map(drop)
            });
            assert!(refusal.is_err_and(|refusal| refusal.message.contains(wanted)), "{given:?}");
        }
        let given = ["cql.tls=required", "tls.certificate=a", "tls.key=b", "tls.client_ca=c"];
        let settings = read(&given).expect("known names");
        assert_eq!(
            Door::ALL.map(|door| settings.tls(door)),
            [Offer::Required, Offer::Off, Offer::Off, Offer::Off]
        );
        assert!(settings.certificates().expect("complete").is_some());
        let refusal = read(&["log.gather_us=1000000"]).and_then(|settings| settings.rooms().map(|_| ()));
        assert!(refusal.is_err_and(|refusal| refusal.message.contains("log.gather_us")));
    }
}
