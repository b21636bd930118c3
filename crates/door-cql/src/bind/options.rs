//! Options of keyspaces and tables: which there are, what values they take, how they are kept.
//!
//! The catalog keeps a table's options flat, by name, maps as `name.key`. [`TableOptions`] reads
//! them back with Cassandra's defaults in place of what was not said. Most tune an engine that
//! this house does not have; they are checked and kept because clients read them back.

use std::collections::BTreeMap;

use super::CqlError;
use crate::lang::Property;

/// Options of a table as clients see them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableOptions {
    pub(crate) additional_write_policy: String,
    pub(crate) allow_auto_snapshot: bool,
    pub(crate) bloom_filter_fp_chance: f64,
    pub(crate) caching: BTreeMap<String, String>,
    pub(crate) cdc: bool,
    pub(crate) comment: String,
    pub(crate) compaction: BTreeMap<String, String>,
    pub(crate) compression: BTreeMap<String, String>,
    pub(crate) crc_check_chance: f64,
    pub(crate) default_time_to_live: i32,
    pub(crate) gc_grace_seconds: i32,
    pub(crate) incremental_backups: bool,
    pub(crate) max_index_interval: i32,
    pub(crate) memtable: String,
    pub(crate) memtable_flush_period_in_ms: i32,
    pub(crate) min_index_interval: i32,
    pub(crate) read_repair: String,
    pub(crate) speculative_retry: String,
}

/// What values an option takes.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Bool,
    /// At least this.
    Int(i32),
    /// Between 0 and 1.
    Fraction,
    Map,
    OneOf(&'static [&'static str]),
}

/// Options of tables, sorted by name.
const TABLE_OPTIONS: &[(&str, Shape)] = &[
    ("additional_write_policy", Shape::Text),
    ("allow_auto_snapshot", Shape::Bool),
    ("bloom_filter_fp_chance", Shape::Fraction),
    ("caching", Shape::Map),
    ("cdc", Shape::Bool),
    ("comment", Shape::Text),
    ("compaction", Shape::Map),
    ("compression", Shape::Map),
    ("crc_check_chance", Shape::Fraction),
    ("default_time_to_live", Shape::Int(0)),
    ("extensions", Shape::Map),
    ("gc_grace_seconds", Shape::Int(0)),
    ("id", Shape::Text),
    ("incremental_backups", Shape::Bool),
    ("max_index_interval", Shape::Int(1)),
    ("memtable", Shape::Text),
    ("memtable_flush_period_in_ms", Shape::Int(0)),
    ("min_index_interval", Shape::Int(1)),
    ("read_repair", Shape::OneOf(&["BLOCKING", "NONE"])),
    ("speculative_retry", Shape::Text),
];

/// The smallest false positive chance that Cassandra's filters have.
const MIN_FALSE_POSITIVES: f64 = 6.71e-5;
const COMPACTION_PACKAGE: &str = "org.apache.cassandra.db.compaction.";
/// Compaction strategies that Cassandra comes with.
const COMPACTION_CLASSES: [&str; 4] = [
    "LeveledCompactionStrategy",
    "SizeTieredCompactionStrategy",
    "TimeWindowCompactionStrategy",
    "UnifiedCompactionStrategy",
];

/// The largest time to live: 20 years (Cassandra's `MAX_TTL`).
pub(crate) const MAX_TTL_SECONDS: i32 = 20 * 365 * 24 * 60 * 60;

/// Checks the options of CREATE TABLE and makes them flat.
///
/// # Errors
/// An option that does not exist, is said twice or has a value it does not take.
pub(super) fn table_options(properties: &[(String, Property)]) -> Result<BTreeMap<String, String>, CqlError> {
    let mut options = BTreeMap::new();
    for (name, value) in properties {
        let Ok(found) = TABLE_OPTIONS.binary_search_by(|(known, _)| known.cmp(&name.as_str())) else {
            return Err(CqlError::Syntax(format!("Unknown property '{name}'")));
        };
        match (TABLE_OPTIONS[found].1, value) {
            (Shape::Map, Property::Map(entries)) => {
                check_map(name, entries)?;
                options.extend(entries.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())));
                // That a map was given counts even when it is empty: its defaults are off then.
                options.insert(name.clone(), String::new());
            }
            (Shape::Map, Property::Text(_)) => return Err(not_a_map(name)),
            (_, Property::Map(_)) => return Err(not_a_string(name)),
            (shape, Property::Text(text)) => {
                check(name, shape, text)?;
                options.insert(name.clone(), text.clone());
            }
        }
    }
    if options.remove("id").is_some() {
        return Err(CqlError::unsupported("giving a table its id"));
    }
    for (name, class) in [("compaction", "compaction.class"), ("compression", "compression.class")] {
        let off = options.get("compression.enabled").is_some_and(|on| !on.eq_ignore_ascii_case("true"));
        if !options.contains_key(class) && options.contains_key(name) && !(name == "compression" && off) {
            let end = if name == "compression" { "." } else { "" };
            return Err(CqlError::Config(format!("Missing sub-option 'class' for the '{name}' option{end}")));
        }
    }
    Ok(options)
}

/// Refuses a property that is given twice.
///
/// # Errors
/// There is one.
pub(super) fn refuse_duplicates(properties: &[(String, Property)]) -> Result<(), CqlError> {
    let mut seen = std::collections::BTreeSet::new();
    match properties.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(CqlError::Syntax(format!("Multiple definitions for property '{name}'"))),
        None => Ok(()),
    }
}

/// A boolean as Cassandra reads it.
///
/// # Errors
/// A text that is none.
pub(super) fn boolean(name: &str, text: &str) -> Result<bool, CqlError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(CqlError::Syntax(format!(
            "Invalid boolean value {text} for '{name}'. Positive values can be '1', 'true' or 'yes'. Negative values \
             can be '0', 'false' or 'no'."
        ))),
    }
}

pub(super) fn not_a_map(name: &str) -> CqlError {
    CqlError::Syntax(format!("Invalid value for property '{name}'. It should be a map."))
}

pub(super) fn not_a_string(name: &str) -> CqlError {
    CqlError::Syntax(format!("Invalid value for property '{name}'. It should be a string"))
}

/// A number as Java's `Double.toString` writes it.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// Checks the entries of an option that is a map, as far as this house can tell.
fn check_map(name: &str, entries: &[(String, String)]) -> Result<(), CqlError> {
    let wrong = |message: String| Err(CqlError::Config(message));
    for (key, value) in entries {
        match (name, key.as_str()) {
            ("caching", "keys") if !is_word(value, &["ALL", "NONE"]) => {
                return wrong(format!(
                    "Invalid value '{value}' for caching sub-option 'keys': only 'ALL' and 'NONE' are allowed"
                ));
            }
            ("caching", "rows_per_partition")
                if !is_word(value, &["ALL", "NONE"]) && value.parse::<i32>().is_err() =>
            {
                return wrong(format!(
                    "Invalid value '{value}' for caching sub-option 'rows_per_partition': only 'ALL', 'NONE', and \
                     integer values are allowed"
                ));
            }
            ("caching", "keys" | "rows_per_partition") => {}
            ("caching", other) => {
                return wrong(format!(
                    "Invalid caching sub-options [{other}]: only 'keys' and 'rows_per_partition' are allowed"
                ));
            }
            ("compaction", "class") => {
                let class = value.strip_prefix(COMPACTION_PACKAGE).unwrap_or(value);
                if !COMPACTION_CLASSES.contains(&class) {
                    let package = if class.contains('.') { "" } else { COMPACTION_PACKAGE };
                    return wrong(format!("Unable to find compaction strategy class '{package}{class}'"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_word(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(value))
}

fn check(name: &str, shape: Shape, text: &str) -> Result<(), CqlError> {
    let wrong = |wanted: &str| Err(CqlError::Syntax(format!("Invalid {wanted} value {text} for '{name}'")));
    match shape {
        Shape::Text | Shape::Map => Ok(()),
        Shape::Bool => boolean(name, text).map(|_| ()),
        Shape::Int(least) => match text.parse::<i32>() {
            Err(_) => wrong("integer"),
            Ok(value) if value < least => Err(CqlError::Config(format!(
                "{name} must be greater than or equal to {least} (got {value})"
            ))),
            Ok(value) if name == "default_time_to_live" && value > MAX_TTL_SECONDS => Err(CqlError::Config(
                format!("default_time_to_live must be less than or equal to {MAX_TTL_SECONDS} (got {value})"),
            )),
            Ok(_) => Ok(()),
        },
        Shape::Fraction => match text.parse::<f64>() {
            Ok(value)
                if name == "bloom_filter_fp_chance" && !(value > MIN_FALSE_POSITIVES && value <= 1.0) =>
            {
                Err(CqlError::Config(format!(
                    "{name} must be larger than 6.71E-5 and less than or equal to 1.0 (got {})",
                    java_double(value)
                )))
            }
            Ok(value) if (0.0..=1.0).contains(&value) => Ok(()),
            Ok(value) => Err(CqlError::Config(format!(
                "{name} must be larger than or equal to 0 and smaller than or equal to 1.0 (got {})",
                java_double(value)
            ))),
            Err(_) => wrong("double"),
        },
        Shape::OneOf(words) if words.iter().any(|word| word.eq_ignore_ascii_case(text)) => Ok(()),
        Shape::OneOf(words) => Err(CqlError::Config(format!(
            "Invalid value {text} for option '{name}'; it is one of {}",
            words.join(", ")
        ))),
    }
}

impl TableOptions {
    /// Reads options as the catalog keeps them.
    pub(crate) fn read(options: &BTreeMap<String, String>) -> TableOptions {
        let text = |name: &str, default: &str| options.get(name).map_or(default, String::as_str).to_owned();
        let int =
            |name: &str, default: i32| options.get(name).and_then(|v| v.parse().ok()).unwrap_or(default);
        let fraction =
            |name: &str, default: f64| options.get(name).and_then(|v| v.parse().ok()).unwrap_or(default);
        let flag = |name: &str, default: bool| {
            options.get(name).map_or(default, |value| boolean(name, value) == Ok(true))
        };
        let map = |name: &str, defaults: &[(&str, &str)]| -> BTreeMap<String, String> {
            let given = options.iter().filter_map(|(key, value)| {
                Some((key.strip_prefix(name)?.strip_prefix('.')?.to_owned(), value.clone()))
            });
            let defaults = defaults.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            if options.contains_key(name) { given.collect() } else { defaults.collect() }
        };
        let full = |mut map: BTreeMap<String, String>, package: &str| {
            if let Some(class) = map.get_mut("class")
                && !class.contains('.')
            {
                *class = format!("{package}.{class}");
            }
            map
        };
        TableOptions {
            additional_write_policy: text("additional_write_policy", "99p"),
            allow_auto_snapshot: flag("allow_auto_snapshot", true),
            bloom_filter_fp_chance: fraction("bloom_filter_fp_chance", 0.01),
            caching: map("caching", &[("keys", "ALL"), ("rows_per_partition", "NONE")]),
            cdc: flag("cdc", false),
            comment: text("comment", ""),
            compaction: full(
                map(
                    "compaction",
                    &[
                        ("class", "SizeTieredCompactionStrategy"),
                        ("max_threshold", "32"),
                        ("min_threshold", "4"),
                    ],
                ),
                "org.apache.cassandra.db.compaction",
            ),
            compression: full(
                map("compression", &[("chunk_length_in_kb", "16"), ("class", "LZ4Compressor")]),
                "org.apache.cassandra.io.compress",
            ),
            crc_check_chance: fraction("crc_check_chance", 1.0),
            default_time_to_live: int("default_time_to_live", 0),
            gc_grace_seconds: int("gc_grace_seconds", 864_000),
            incremental_backups: flag("incremental_backups", true),
            max_index_interval: int("max_index_interval", 2048),
            memtable: text("memtable", "default"),
            memtable_flush_period_in_ms: int("memtable_flush_period_in_ms", 0),
            min_index_interval: int("min_index_interval", 128),
            read_repair: text("read_repair", "BLOCKING").to_uppercase(),
            speculative_retry: text("speculative_retry", "99p"),
        }
    }
}

/// The replication of a keyspace as the catalog keeps it, and what the client is warned of.
///
/// # Errors
/// An unknown class, an option it does not have, a factor that is none.
pub(super) fn replication(
    keyspace: &str,
    given: &[(String, String)],
    datacenters: &BTreeMap<String, u32>,
) -> Result<(BTreeMap<String, String>, Vec<String>), CqlError> {
    const PACKAGE: &str = "org.apache.cassandra.locator.";
    let mut options: BTreeMap<String, String> = given.iter().cloned().collect();
    let Some(class) = options.remove("class") else {
        return Err(CqlError::Config("Missing replication strategy class".to_owned()));
    };
    let class = class.strip_prefix(PACKAGE).unwrap_or(&class).to_owned();
    let mut warnings = Vec::new();
    match class.as_str() {
        "SimpleStrategy" => {
            // Cassandra's `default_keyspace_rf` is 1.
            let factor = options.entry("replication_factor".to_owned()).or_insert_with(|| "1".to_owned());
            let factor = replication_factor(factor)?;
            let nodes: u32 = datacenters.values().sum();
            if factor > nodes {
                warnings.push(format!(
                    "Your replication factor {factor} for keyspace {keyspace} is higher than the number of nodes {nodes}"
                ));
            }
            if let Some(other) = options.keys().find(|name| *name != "replication_factor") {
                return Err(unrecognized(other, &class, keyspace));
            }
        }
        "NetworkTopologyStrategy" => {
            // One factor for all datacenters, except where one is named.
            let default = options.remove("replication_factor");
            if let Some(factor) = default.or_else(|| options.is_empty().then(|| "1".to_owned())) {
                for datacenter in datacenters.keys() {
                    options.entry(datacenter.clone()).or_insert_with(|| factor.clone());
                }
            }
            for (name, factor) in &options {
                let factor = replication_factor(factor)?;
                let Some(nodes) = datacenters.get(name) else {
                    return Err(unrecognized(name, &class, keyspace));
                };
                if factor > *nodes {
                    warnings.push(format!(
                        "Your replication factor {factor} for keyspace {keyspace} is higher than the number of nodes {nodes} for datacenter {name}"
                    ));
                }
            }
        }
        "LocalStrategy" => {
            return Err(CqlError::invalid(
                "Unable to use given strategy class: LocalStrategy is reserved for internal use.",
            ));
        }
        other => {
            let full = if other.contains('.') { other.to_owned() } else { format!("{PACKAGE}{other}") };
            return Err(CqlError::Config(format!("Unable to find replication strategy class '{full}'")));
        }
    }
    options.insert("class".to_owned(), class);
    Ok((options, warnings))
}

fn unrecognized(option: &str, class: &str, keyspace: &str) -> CqlError {
    CqlError::Config(format!(
        "Unrecognized strategy option {{{option}}} passed to {class} for keyspace {keyspace}"
    ))
}

fn replication_factor(text: &str) -> Result<u32, CqlError> {
    if text.contains('/') {
        return Err(CqlError::Config("Transient replication is not enabled on this node".to_owned()));
    }
    let factor: i32 = text.parse().map_err(|_| CqlError::Config(format!("For input string: \"{text}\"")))?;
    if factor < 0 {
        return Err(CqlError::Config(format!("Replication factor must be non-negative, found {factor}")));
    }
    u32::try_from(factor)
        .ok()
        .filter(|factor| *factor <= 1024)
        .ok_or_else(|| CqlError::Config(format!("Replication factor must be at most 1024, found {text}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_not_said_is_cassandras_default() {
        let defaults = TableOptions::read(&BTreeMap::new());
        assert_eq!(defaults.gc_grace_seconds, 864_000);
        assert_eq!(
            defaults.compaction["class"],
            "org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy"
        );
        assert_eq!(defaults.caching["keys"], "ALL");
        assert_eq!(table_options(&[]).unwrap(), BTreeMap::new());
    }

    #[test]
    fn what_was_said_comes_back() {
        let text = |name: &str, value: &str| (name.to_owned(), Property::Text(value.to_owned()));
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let given = [
            text("comment", "it's"),
            text("cdc", "TRUE"),
            text("read_repair", "none"),
            ("caching".to_owned(), Property::Map(vec![entry("keys", "NONE")])),
            ("compression".to_owned(), Property::Map(vec![entry("enabled", "false")])),
            ("compaction".to_owned(), Property::Map(vec![entry("class", "LeveledCompactionStrategy")])),
        ];
        let options = TableOptions::read(&table_options(&given).unwrap());
        assert_eq!(
            (options.comment.as_str(), options.cdc, options.read_repair.as_str()),
            ("it's", true, "NONE")
        );
        assert_eq!(options.caching, [entry("keys", "NONE")].into());
        assert_eq!(options.compression, [entry("enabled", "false")].into());
        let class = "org.apache.cassandra.db.compaction.LeveledCompactionStrategy";
        assert_eq!(options.compaction, [entry("class", class)].into());
    }

    #[test]
    fn option_names_are_sorted_for_the_search() {
        assert!(TABLE_OPTIONS.is_sorted_by_key(|(name, _)| name));
    }
}
