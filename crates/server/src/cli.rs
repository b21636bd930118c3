//! The command line.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Parser, Subcommand};

/// One store behind the protocols your programs already speak.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the store.
    Start(Start),
    /// Read everything in a data directory and name every fault; changes nothing.
    Verify(Verify),
    /// Show the nodes of the cluster.
    Nodes(Ask),
    /// Show the groups of the cluster, their replicas and who leads them.
    Groups(Ask),
    /// Save the catalog, or begin with a saved one.
    #[command(subcommand)]
    Catalog(Catalog),
}

/// What to do with the catalog.
#[derive(Debug, Subcommand)]
pub(crate) enum Catalog {
    /// Write the definitions of keyspaces and tables, not their rows, to a file.
    Backup {
        /// The file, which must not be there yet.
        file: PathBuf,
        /// The http door of a running node.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
        http: SocketAddr,
    },
    /// Found a cluster in an empty directory with the definitions of such a file.
    Restore {
        /// The file.
        file: PathBuf,
        /// Where data is kept.
        #[arg(long, value_name = "DIR", default_value = "holdfast-data")]
        data_dir: PathBuf,
    },
}

/// A question to a running node.
#[derive(Debug, clap::Args)]
pub(crate) struct Ask {
    /// The http door of a running node.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
    pub(crate) http: SocketAddr,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Read everything in a data directory that no node uses, and print a line for each fault: file,
/// offset, whose data, what is wrong. Exit code 0 if all is sound, 65 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Where data is kept.
    #[arg(long, alias = "data", value_name = "DIR", default_value = "holdfast-data")]
    pub(crate) data_dir: PathBuf,
}

/// Run the store: one node, all doors on loopback, data in ./holdfast-data.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Where data is kept.
    #[arg(long, value_name = "DIR", default_value = "holdfast-data")]
    pub(crate) data_dir: PathBuf,
    /// Keep everything in memory; nothing survives the process.
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) in_memory: bool,
    /// Where a door listens; port 0 takes a free one, `DOOR=off` closes it. Doors: cql, zookeeper, http, node.
    #[arg(long, value_name = "DOOR=HOST:PORT")]
    pub(crate) listen: Vec<DoorAddress>,
    /// The address of a door as clients see it, where it differs from where it listens.
    #[arg(long, value_name = "DOOR=HOST:PORT")]
    pub(crate) advertise: Vec<DoorAddress>,
    /// Join the cluster of the node whose `node` door is there. Without it, and with an empty directory, a cluster is
    /// founded. Needs `node.certificate`, `node.key` and `node.ca`.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "in_memory")]
    pub(crate) join: Option<SocketAddr>,
    /// A TOML file of settings (docs/settings.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting, over the file's: `--set cql.filtering=strict`.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Allow doors on addresses that others can reach: there is no authentication yet.
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// The doors there are, in the order they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    Cql,
    ZooKeeper,
    Http,
    /// For other nodes.
    Node,
}

impl Door {
    pub(crate) const ALL: [Door; 4] = [Door::Cql, Door::ZooKeeper, Door::Http, Door::Node];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Door::Cql => "cql",
            Door::ZooKeeper => "zookeeper",
            Door::Http => "http",
            Door::Node => "node",
        }
    }

    pub(crate) fn standard_port(self) -> u16 {
        match self {
            Door::Cql => 9042,
            Door::ZooKeeper => 2181,
            Door::Http => 7070,
            Door::Node => 7071,
        }
    }
}

/// `DOOR=HOST:PORT` or `DOOR=off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DoorAddress {
    pub(crate) door: Door,
    /// `None` is off.
    pub(crate) address: Option<SocketAddr>,
}

impl FromStr for DoorAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<DoorAddress, String> {
        let (name, address) = text.split_once('=').ok_or("expected DOOR=HOST:PORT or DOOR=off")?;
        let door = Door::ALL.into_iter().find(|door| door.name() == name);
        let door =
            door.ok_or_else(|| format!("there is no door {name:?}; doors: cql, zookeeper, http, node"))?;
        let address = match address {
            "off" => None,
            _ => Some(address.replace("localhost:", "127.0.0.1:").parse().map_err(|_| {
                format!("{address:?} is not an IP address and a port, such as 127.0.0.1:9042")
            })?),
        };
        Ok(DoorAddress { door, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn door_addresses_are_read_and_refused() {
        let read: DoorAddress = "cql=127.0.0.1:0".parse().expect("an address");
        assert_eq!(read, DoorAddress { door: Door::Cql, address: Some(([127, 0, 0, 1], 0).into()) });
        assert_eq!("http=off".parse(), Ok(DoorAddress { door: Door::Http, address: None }));
        for wrong in ["cql", "kafka=off", "cql=9042", "cql=example.org:9042"] {
            assert!(wrong.parse::<DoorAddress>().is_err(), "{wrong}");
        }
    }
}
