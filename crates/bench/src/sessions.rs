//! Many sessions of ZooKeeper, and one znode that most of them watch: the suite
//! `zookeeper-sessions`.
//!
//! ```text
//! idle       N sessions that do nothing: what the server's memory grows by
//! keepalive  a ping of each, twice: what reaches the log, and what memory grows by
//! fan-out    10,000 of them watch a znode that is set, again and again: when the writer has its
//!            answer, when the last watcher has its event, and how long others wait meanwhile
//! ```
//!
//! The sessions are bare sockets of one thread, so that the client costs little; who waits
//! meanwhile reads another znode in a thread of its own. Every event is checked to be there, and
//! to be the only one. A JVM's memory grows and shrinks as its collector likes: its figure is told,
//! and judged by nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use door_zk::script::requests;
use serde_json::{Value, json};

use crate::{
    Outcome,
    engine::measure::Latencies,
    holdfast, place, process,
    report::verdict,
    server::{Kind, Server},
};

/// Sessions, and of these the watchers.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Sessions.
    pub sessions: usize,
    /// Those that watch.
    pub watchers: usize,
    /// Times that the znode is set.
    pub changes: usize,
}

impl Crowd {
    /// What is promised for.
    pub const FULL: Crowd = Crowd { sessions: 15_000, watchers: 10_000, changes: 10 };
    /// Only to see that it works.
    pub const QUICK: Crowd = Crowd { sessions: 1_500, watchers: 1_000, changes: 2 };
}

/// Bytes of memory that an idle session may cost.
const SESSION_BYTES_BAR: f64 = 4096.0;
/// Sessions open before memory is looked at first: what the first ones bring along is no session's.
const FIRST: usize = 200;
/// From a change of load until memory is looked at. Longer than the time for a handshake, whose
/// timers are memory too.
const SETTLE: Duration = Duration::from_secs(12);
/// Between two changes of the znode.
const PAUSE: Duration = Duration::from_millis(500);
/// Nothing takes longer.
const LONGEST: Duration = Duration::from_secs(60);

const HOT: &str = "/hot";
const COLD: &str = "/cold";

/// Opcodes.
const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const PING: i32 = 11;
const ADD_WATCH: i32 = 106;

/// A session on a socket.
struct Session(TcpStream);

impl Session {
    fn open(address: SocketAddr) -> Outcome<Session> {
        let stream = TcpStream::connect_timeout(&address, LONGEST)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONGEST))?;
        let mut session = Session(stream);
        // Protocol, last zxid, timeout, session, password, read-only.
        session
            .send(&[&[0; 12][..], &40_000_u32.to_be_bytes(), &[0; 8], &prefixed(&[0; 16]), &[0]].concat())?;
        let answer = session.receive()?;
        match answer.get(8..16) {
            Some(id) if id.iter().any(|byte| *byte != 0) => Ok(session),
            _ => Err("no session was given".into()),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Outcome<()> {
        Ok(self.0.write_all(&prefixed(frame))?)
    }

    fn ask(&mut self, opcode: i32, record: &[u8]) -> Outcome<()> {
        let xid: i32 = if opcode == PING { -2 } else { 1 };
        self.send(&[&xid.to_be_bytes()[..], &opcode.to_be_bytes(), record].concat())
    }

    fn receive(&mut self) -> Outcome<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length).min(1 << 20) as usize];
        self.0.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// An answer, which must be no event and no error.
    fn answer(&mut self) -> Outcome<()> {
        let answer = self.receive()?;
        let is_event = answer.starts_with(&(-1_i32).to_be_bytes());
        if is_event || answer.get(12..16) != Some(&[0; 4]) {
            return Err(format!("an event or an error: {answer:?}").into());
        }
        Ok(())
    }

    fn call(&mut self, opcode: i32, record: &[u8]) -> Outcome<()> {
        self.ask(opcode, record)?;
        self.answer()
    }

    /// An event, as its zxid.
    fn event(&mut self) -> Outcome<i64> {
        let event = self.receive()?;
        match (event.starts_with(&(-1_i32).to_be_bytes()), event.get(4..12)) {
            (true, Some(zxid)) => Ok(i64::from_be_bytes(zxid.try_into()?)),
            _ => Err(format!("no event: {event:?}").into()),
        }
    }

    fn create(&mut self, path: &str) -> Outcome<()> {
        self.call(CREATE, &requests::create(path, Some(b""), &requests::EVERYONE, 0))
    }
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// Runs it on each of `kinds`.
pub async fn run(kinds: &[Kind], crowd: Crowd) -> Outcome<Value> {
    world::process::raise_descriptor_limit()?;
    let mut told = Vec::new();
    for &kind in kinds {
        eprintln!("zookeeper-sessions: {}", kind.name());
        let server = match kind {
            Kind::Holdfast => {
                let data = place::data(kind.name());
                place::emptied(&data)?;
                let room = format!("zookeeper.connections={}", 2 * crowd.sessions);
                holdfast::start_on(data, &[room]).await?
            }
            _ => kind.start().await?,
        };
        let (server, measured) = tokio::task::spawn_blocking(move || {
            let measured = measure(&server, crowd);
            (server, measured)
        })
        .await?;
        told.push(measured?);
        server.stop().await?;
    }
    Ok(told.into())
}

fn measure(server: &Server, crowd: Crowd) -> Outcome<Value> {
    let address = server.addresses.zookeeper.ok_or("this server has no ZooKeeper door")?;
    let resident =
        || Ok::<_, Box<dyn std::error::Error + Send + Sync>>(process::size(server.pid())?.resident_bytes);
    let mut sessions = Vec::new();
    let open = |sessions: &mut Vec<Session>, count| {
        while sessions.len() < count {
            sessions.push(Session::open(address)?);
        }
        Outcome::Ok(())
    };
    open(&mut sessions, FIRST)?;
    thread::sleep(SETTLE);
    let before = resident()?;
    let begun = Instant::now();
    open(&mut sessions, crowd.sessions)?;
    let open_seconds = begun.elapsed().as_secs_f64();
    thread::sleep(SETTLE);
    let idle = resident()?;

    let logged = server.used()?;
    for _ in 0..2 {
        sessions.iter_mut().try_for_each(|session| session.ask(PING, &[]))?;
        sessions.iter_mut().try_for_each(Session::answer)?;
    }
    let pinged = server.used()?;
    let after_pings = resident()?;
    let more = (sessions.len() - FIRST) as f64;
    let mut told = json!({
        "server": server.kind.name(),
        "sessions": sessions.len(),
        "resident_bytes_of_first": before,
        "resident_bytes": idle,
        "bytes_each": (idle as f64 - before as f64) / more,
        "bytes_each_after_pings": (after_pings as f64 - before as f64) / more,
        "open_seconds": open_seconds,
        "ping_cpu_us": pinged.cpu.since(logged.cpu).total_us() as f64 / (2.0 * sessions.len() as f64),
        "fsyncs_of_pings": pinged.fsyncs.zip(logged.fsyncs).map(|(after, before)| after - before),
        "watchers": crowd.watchers,
    });
    told["fan_out"] = fan_out(address, &mut sessions[..crowd.watchers], crowd.changes)?;
    told["resident_bytes_after_fan_out"] = resident()?.into();
    Ok(told)
}

/// Sets a znode that all `watchers` watch.
fn fan_out(address: SocketAddr, watchers: &mut [Session], changes: usize) -> Outcome<Value> {
    let mut writer = Session::open(address)?;
    writer.create(HOT)?;
    writer.create(COLD)?;
    let watch = requests::versioned(HOT, 0);
    watchers.iter_mut().try_for_each(|watcher| watcher.ask(ADD_WATCH, &watch))?;
    watchers.iter_mut().try_for_each(Session::answer)?;
    let quiet = others(address, || {
        thread::sleep(PAUSE);
        Ok(())
    })?;
    let set = requests::set_data(HOT, Some(b"x"), -1);
    let (mut answered, mut all_told) = (Latencies::default(), Latencies::default());
    let (mut busy, mut longest) = (Latencies::default(), Vec::new());
    for _ in 0..changes {
        thread::sleep(PAUSE);
        let during = others(address, || {
            let begun = Instant::now();
            writer.call(SET_DATA, &set)?;
            answered.record(begun.elapsed());
            let mut zxids = watchers.iter_mut().map(Session::event);
            let first = zxids.next().ok_or("no watchers")??;
            for zxid in zxids {
                if zxid? != first {
                    return Err("two events of one change".into());
                }
            }
            all_told.record(begun.elapsed());
            Ok(())
        })?;
        busy.add(&during);
        longest.push(during.json()["max_us"].clone());
    }
    Ok(json!({
        "changes": changes,
        "writer_answered": answered.json(),
        "all_told": all_told.json(),
        "reads_of_others_quiet": quiet.json(),
        "reads_of_others": busy.json(),
        "longest_read_of_each_us": longest,
    }))
}

/// The reads of one who has nothing to do with it, one after the other, while `work` is done.
fn others(address: SocketAddr, work: impl FnOnce() -> Outcome<()>) -> Outcome<Latencies> {
    let mut other = Session::open(address)?;
    let done = Arc::new(AtomicBool::new(false));
    let reading = {
        let done = Arc::clone(&done);
        thread::spawn(move || {
            let mut latencies = Latencies::default();
            let read = requests::look(COLD, false);
            while !done.load(Relaxed) {
                let begun = Instant::now();
                other.call(GET_DATA, &read)?;
                latencies.record(begun.elapsed());
            }
            Outcome::Ok(latencies)
        })
    };
    let worked = work();
    done.store(true, Relaxed);
    let latencies = reading.join().map_err(|_| "the reader panicked")??;
    worked.map(|()| latencies)
}

/// What it came to, for people.
pub fn table(told: &Value) -> String {
    let mut text = String::from(
        "| server | idle sessions | resident MB | bytes a session | bar ≤ 4096 | fsyncs of pings | CPU µs a ping \
         | watchers told | set answered ms p50 | all told ms p50 | read of another µs p50, quiet | p99 meanwhile \
         | longest meanwhile |\n\
         |---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in told.as_array().into_iter().flatten() {
        let number = |path: &str| row.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let server = row["server"].as_str().unwrap_or_default();
        let both = ["/bytes_each_after_pings", "/bytes_each"].map(number);
        let each = both[0].max(both[1]);
        let judged = match server {
            // What is missing is not below the bar.
            "holdfast" => verdict(both.iter().all(|each| *each <= SESSION_BYTES_BAR)),
            _ => "",
        };
        text.push_str(&format!(
            "| {server} | {} | {:.1} | {each:.0} | {judged} | {} | {:.1} | {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} |\n",
            number("/sessions"),
            number("/resident_bytes") / 1e6,
            number("/fsyncs_of_pings"),
            number("/ping_cpu_us"),
            number("/watchers"),
            number("/fan_out/writer_answered/p50_us") / 1000.0,
            number("/fan_out/all_told/p50_us") / 1000.0,
            number("/fan_out/reads_of_others_quiet/p50_us"),
            number("/fan_out/reads_of_others/p99_us"),
            number("/fan_out/reads_of_others/max_us"),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_too_much_or_is_missing_is_no_pass() {
        let row =
            |server, each| json!({ "server": server, "bytes_each": each, "bytes_each_after_pings": 1.0 });
        let text = table(&json!([
            row("holdfast", json!(4000.4)),
            row("holdfast", json!(4097)),
            row("zookeeper", json!(9000)),
            row("holdfast", Value::Null)
        ]));
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert!(rows[0].contains("| 4000 | pass |"), "{text}");
        assert!(rows[1].contains("| 4097 | **missed** |"), "{text}");
        assert!(rows[2].contains("| 9000 |  |"), "{text}");
        assert!(rows[3].contains("| 1 | **missed** |"), "{text}");
    }
}
