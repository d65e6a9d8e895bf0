//! `cargo xtask demo`: a Redis server with data and a connected client is dumped, shown, restored, and asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use clap::Args;

use crate::error::{At, Error};
use crate::packages;
use crate::program::{self, Program};
use crate::sh::{self, Progress};

#[derive(Args)]
pub(crate) struct Options {
    /// Build and use the optimised program.
    #[arg(long)]
    release: bool,
    /// Keep the images and say where they are.
    #[arg(long)]
    keep: bool,
    /// How many keys the server holds.
    #[arg(long, default_value_t = 20_000)]
    keys: u32,
}

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    println!("Preparation");
    packages::ensure(&[packages::REDIS])?;
    let criu = Program::build(options.release)?;
    program::become_subreaper()?;
    let folder = tempfile::Builder::new()
        .prefix("criu-demo-")
        .disable_cleanup(options.keep)
        .tempdir()
        .map_err(|e| Error::System("make a temporary folder".into(), e))?;
    let images = folder.path().join("images");
    fs::create_dir(&images).at("create", &images)?;

    println!("\nA Redis server with {} keys and a client", options.keys);
    let server = Server::start(folder.path())?;
    let mut client = server.connect()?;
    client.fill(options.keys)?;
    let id = client.ask("CLIENT ID")?;
    let size = client.ask("DBSIZE")?;
    client.ask("SET visits 1")?;
    println!(
        "  the server is process {}, its client has the id {id}, {size} keys",
        server.pid
    );

    println!("\nDump");
    let mut progress = Progress::new("criu dump --tcp-established");
    let dumped = criu.dump(server.pid, &images, &["--tcp-established", "-v4"]);
    progress.done(dumped.is_ok());
    dumped?;
    program_gone(server.pid)?;
    println!("  process {} is gone; what was saved:", server.pid);
    show(&images)?;

    println!("\nThe client asks while there is no server");
    // Nothing answers, and nothing refuses: the packets are dropped until the connection is back.
    client.send("INCR visits")?;
    println!("  sent: INCR visits");

    println!("\nRestore");
    let mut progress = Progress::new("criu restore --tcp-established");
    let restored = criu.restore(&images, &["--tcp-established", "-v4"]);
    progress.done(restored.is_ok());
    restored?;

    println!("\nThe same connection");
    let begun = Instant::now();
    expect("INCR visits", &client.reply()?, "2")?;
    println!(
        "  the answer to INCR came after {:.0} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    expect("CLIENT ID", &client.ask("CLIENT ID")?, &id)?;
    expect(
        "DBSIZE",
        &client.ask("DBSIZE")?,
        &(number(&size)? + 1).to_string(),
    )?;
    for key in (0..options.keys).step_by(97) {
        expect("GET", &client.ask(&format!("GET key:{key}"))?, &value(key))?;
    }
    println!("  the data is as it was");
    let mut second = server.connect()?;
    expect("PING", &second.ask("PING")?, "PONG")?;
    println!("  a new client is served too");
    if options.keep {
        println!("\nThe images are in {}", images.display());
    }
    println!("\nIt works.");
    Ok(())
}

/// A running Redis; dropping it ends it.
struct Server {
    pid: i32,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Result<Server, Error> {
        let redis =
            sh::find("redis-server").ok_or_else(|| Error::Wrong("redis-server is not there".into()))?;
        // A free port: taken and given back; Redis says so if someone was faster.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map_err(|e| Error::System("find a free port".into(), e))?
            .port();
        let mut command = Command::new(redis);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(folder);
        let pid = program::start_apart(&mut command, folder)?;
        let server = Server { pid, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.connect().is_err() {
            if Instant::now() > deadline {
                return Err(Error::Wrong(format!(
                    "redis-server did not listen on port {port} within 10 s"
                )));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn connect(&self) -> Result<Client, Error> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))
            .and_then(|s| s.set_read_timeout(Some(Duration::from_secs(15))).map(|()| s))
            .map_err(|e| Error::System(format!("connect to port {}", self.port), e))?;
        let reader = stream
            .try_clone()
            .map_err(|e| Error::System("duplicate a socket".into(), e))?;
        Ok(Client {
            stream,
            reader: BufReader::new(reader),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: kill touches no memory; the pid is our child's, or the restored one's that took its place.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        program::reap_all();
    }
}

/// A client of Redis's own protocol, one connection.
struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn send(&mut self, line: &str) -> Result<(), Error> {
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .map_err(|e| Error::System(format!("send {line}"), e))
    }

    /// One reply: a status, a number, or a string.
    fn reply(&mut self) -> Result<String, Error> {
        let first = self.line()?;
        match first.split_at_checked(1) {
            Some(("+" | ":", rest)) => Ok(rest.to_owned()),
            Some(("$", length)) if length != "-1" => self.line(),
            _ => Err(Error::Wrong(format!("Redis answered: {first}"))),
        }
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        let n = self
            .reader
            .read_line(&mut line)
            .map_err(|e| Error::System("wait for Redis's answer".into(), e))?;
        if n == 0 {
            return Err(Error::Wrong("Redis closed the connection".into()));
        }
        Ok(line.trim_end().to_owned())
    }

    fn ask(&mut self, line: &str) -> Result<String, Error> {
        self.send(line)?;
        self.reply()
    }

    fn fill(&mut self, keys: u32) -> Result<(), Error> {
        for from in (0..keys).step_by(500) {
            let some = from..keys.min(from + 500);
            let commands: Vec<_> = some
                .clone()
                .map(|k| format!("SET key:{k} {}", value(k)))
                .collect();
            self.send(&commands.join("\r\n"))?;
            for _ in some {
                self.reply()?;
            }
        }
        Ok(())
    }
}

fn value(key: u32) -> String {
    format!(
        "value-{}-{}",
        key,
        u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    )
}

fn number(text: &str) -> Result<u64, Error> {
    text.parse()
        .map_err(|_| Error::Wrong(format!("a number was expected, Redis said: {text}")))
}

fn expect(what: &str, got: &str, expected: &str) -> Result<(), Error> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Wrong(format!("{what} gave {got}, expected {expected}")))
}

/// The dumped process has ended.
fn program_gone(pid: i32) -> Result<(), Error> {
    // SAFETY: a null status pointer is allowed.
    let reaped = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    if reaped == pid {
        Ok(())
    } else {
        Err(Error::Wrong(format!("process {pid} is still there")))
    }
}

/// A table of the images: how many files of each kind, their bytes, what they hold.
fn show(images: &Path) -> Result<(), Error> {
    const KINDS: &[(&str, &str)] = &[
        ("inventory", "the set as a whole"),
        ("pstree", "the tree of processes"),
        ("core", "registers, signals, credentials of a thread"),
        ("mm", "the memory map of a process"),
        ("pagemap", "which pages are saved where"),
        ("pages", "the pages themselves"),
        ("files", "what stands behind the descriptors"),
        ("fdinfo", "the table of descriptors"),
        ("fs", "working directory and root"),
        ("ids", "what is shared between processes"),
        ("pipes-data", "bytes in pipes"),
        ("tcp-stream", "the state and queues of a connection"),
        ("seccomp", "system call filters"),
        ("timens", "clock offsets"),
        ("stats-dump", "how long it took"),
    ];
    let mut rows: Vec<(String, usize, u64)> = Vec::new();
    for entry in fs::read_dir(images).at("read", images)? {
        let entry = entry.at("read", images)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(stem) = name
            .strip_suffix(".img")
            .or_else(|| name.starts_with("stats").then_some(&*name))
        else {
            continue;
        };
        // The part after the last hyphen is a pid or an identifier, where it is a number.
        let kind = match stem.rsplit_once('-') {
            Some((kind, id)) if id.chars().all(|c| c.is_ascii_hexdigit()) => kind.to_owned(),
            _ => stem.to_owned(),
        };
        let bytes = entry.metadata().at("read", entry.path())?.len();
        match rows.iter_mut().find(|row| row.0 == kind) {
            Some(row) => {
                row.1 += 1;
                row.2 += bytes;
            }
            None => rows.push((kind, 1, bytes)),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.2));
    println!("    {:<14}{:>6}{:>12}   what", "image", "files", "bytes");
    for (kind, files, bytes) in &rows {
        let what = KINDS.iter().find(|k| k.0 == kind).map_or("", |k| k.1);
        println!("    {kind:<14}{files:>6}{bytes:>12}   {what}");
    }
    let total: u64 = rows.iter().map(|row| row.2).sum();
    println!(
        "    {:<14}{:>6}{total:>12}",
        "together",
        rows.iter().map(|row| row.1).sum::<usize>()
    );
    Ok(())
}
