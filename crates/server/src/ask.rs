//! Questions to a running node, over its http door: `holdfast nodes`, `groups`, `catalog backup`; and `catalog
//! restore`, which needs none.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Clock, Disk, Entropy, World};

use crate::{
    cli::{Ask, Catalog},
    exit::{Exit, Refusal},
    start::{system, unusable},
};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Prints the nodes.
pub(crate) fn nodes(ask: &Ask) -> Result<(), Refusal> {
    let told = json(ask, "/nodes")?;
    let Some(told) = told else { return Ok(()) };
    println!("cluster {} ({}), version {}\n", text(&told["name"]), text(&told["cluster"]), told["version"]);
    let mut rows = vec![["node", "state", "alive", "region", "zone", "address"].map(str::to_owned)];
    for node in told["nodes"].as_array().into_iter().flatten() {
        let alive = if node["alive"] == true { "yes" } else { "no" };
        rows.push([
            text(&node["id"]),
            text(&node["state"]),
            alive.to_owned(),
            text(&node["region"]),
            text(&node["zone"]),
            text(&node["addresses"]["node"]),
        ]);
    }
    print!("{}", table(&rows));
    Ok(())
}

/// Prints the groups.
pub(crate) fn groups(ask: &Ask) -> Result<(), Refusal> {
    let told = json(ask, "/groups")?;
    let Some(told) = told else { return Ok(()) };
    let mut rows =
        vec![["group", "name", "leader", "voters", "learners", "wanted", "applied"].map(str::to_owned)];
    for group in told["groups"].as_array().into_iter().flatten() {
        let wanted = [&group["wanted"]["voters"], &group["wanted"]["learners"]].map(list);
        rows.push([
            text(&group["id"]),
            text(&group["name"]),
            text(&group["leader"]),
            list(&group["voters"]),
            list(&group["learners"]),
            wanted.into_iter().filter(|nodes| nodes != "-").collect::<Vec<_>>().join(" + "),
            text(&group["applied"]),
        ]);
    }
    print!("{}", table(&rows));
    Ok(())
}

/// Saves the catalog, or begins with a saved one.
pub(crate) fn catalog(what: &Catalog) -> Result<(), Refusal> {
    match what {
        Catalog::Backup { file, http } => {
            let backup = get(*http, "/catalog")?;
            write(file, &backup)?;
            println!("{} bytes in {}", backup.len(), file.display());
        }
        Catalog::Restore { file, data_dir } => {
            let backup = read(file)?;
            let disk = Disk::real(data_dir).map_err(unusable)?;
            let _lock = disk.lock().map_err(unusable)?;
            let world = World { clock: Clock::real(), entropy: Entropy::real(), disk };
            fabric::restore_catalog(&world, fabric::Settings::default(), &backup).map_err(|cause| {
                let refusal = Refusal::from(cause);
                Refusal { message: format!("{}: {}", file.display(), refusal.message), ..refusal }
            })?;
            println!("{} has the definitions of {}", data_dir.display(), file.display());
        }
    }
    Ok(())
}

/// The answer; `None` if it was printed as it is.
fn json(ask: &Ask, path: &str) -> Result<Option<Value>, Refusal> {
    let answer = get(ask.http, path)?;
    if ask.json {
        print!("{}", String::from_utf8_lossy(&answer));
        return Ok(None);
    }
    let told = serde_json::from_slice(&answer);
    told.map(Some).map_err(|error| unanswered(ask.http, &format!("its answer is no JSON: {error}")))
}

fn unanswered(address: SocketAddr, why: &str) -> Refusal {
    Refusal::new(Exit::Unanswered, format!("the http door at {address}: {why}"))
}

/// The body of `GET path`.
fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>, Refusal> {
    let runtime = world::task::runtime(1).map_err(system)?;
    let asking = async {
        let mut stream = world::net::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = runtime
        .block_on(world::time::timeout(LIMIT, asking))
        .ok_or_else(|| unanswered(address, "no answer in time"))?
        .map_err(|error| unanswered(address, &error.to_string()))?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(&answer) {
        Ok(httparse::Status::Complete(length)) if response.code == Some(200) => {
            let told =
                response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let told = told.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
            let body = answer.get(length..).unwrap_or_default();
            if told != Some(body.len()) {
                return Err(unanswered(address, "its answer was cut off"));
            }
            Ok(body.to_vec())
        }
        Ok(httparse::Status::Complete(_)) => {
            let code = response.code.unwrap_or(0);
            Err(unanswered(address, &format!("it answered {code}")))
        }
        // Nothing at all is what a door says that wants TLS.
        _ => Err(unanswered(address, "it does not speak HTTP in clear")),
    }
}

#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a file that the user names, outside any data directory"
)]
fn write(file: &PathBuf, bytes: &[u8]) -> Result<(), Refusal> {
    use std::io::Write;
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(file).and_then(|mut out| {
        out.write_all(bytes)?;
        out.sync_all()
    });
    written.map_err(|error| Refusal::new(Exit::System, format!("{}: {error}", file.display())))
}

#[allow(clippy::disallowed_methods, reason = "a file that the user names, outside any data directory")]
fn read(file: &Path) -> Result<Vec<u8>, Refusal> {
    let told = |error: std::io::Error| Refusal::new(Exit::Data, format!("{}: {error}", file.display()));
    if std::fs::metadata(file).map_err(told)?.len() > ANSWER_BYTES_MAX {
        return Err(Refusal::new(Exit::Data, format!("{} is too long to be a backup", file.display())));
    }
    std::fs::read(file).map_err(told)
}

/// A value as text; `-` for none.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> String {
    let Some(items) = value.as_array().filter(|items| !items.is_empty()) else { return "-".to_owned() };
    items.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Rows under their titles, each column as wide as it must be.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["node", "state"], ["1", "member"], ["12", "-"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "node  state\n1     member\n12    -\n");
        assert_eq!(list(&serde_json::json!([1, 2])), "1,2");
        assert_eq!((list(&Value::Null), text(&Value::Null)), ("-".to_owned(), "-".to_owned()));
    }
}
