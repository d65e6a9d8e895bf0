//! A PostgreSQL server and a psql session in the middle of a transaction, in one tree.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use super::support::{free_port, scripted};
use criu_tests::{Lab, reaper};

/// The root of the tree; it speaks the guests' protocol (`ready`, `go`, `verdict`).
const SCRIPT: &str = r#"
fail() { ln -s "fail: $1" verdict; exit 1; }
"$BIN/postgres" -D "$PWD/data" -k "$PWD" -p "$PORT" -c listen_addresses="$LISTEN" > server.log 2>&1 &
server=$!
until "$BIN/pg_isready" -q -h "$HOST" -p "$PORT"; do
  kill -0 $server || fail "the server ended: $(tail -1 server.log)"
done
session() { exec "$BIN/psql" -X -q -A -t -h "$HOST" -p "$PORT" -U postgres postgres "$@" 2>&1; }
coproc PSQL { session; }
ask() {
  echo "$1" >&"${PSQL[1]}"
  read -r -t 60 answer <&"${PSQL[0]}" || fail "no answer to $1"
  [ "$answer" = "$2" ] || fail "$1: $answer, expected $2"
}
ask 'create table t (n int primary key); insert into t values (0); select count(*) from t;' 1
ask 'begin; insert into t select generate_series(1, 5000); declare c cursor for select n from t order by n; fetch 1 from c;' 0
ask 'select pg_advisory_lock(77) is not null;' t
[ "$(session -c 'select count(*) from t')" = 1 ] || fail "the transaction is visible"
# The writer of the log wakes by itself, and has the log open from the first time on that there is something to write.
writer=$(session -c "select pid from pg_stat_activity where backend_type = 'walwriter'")
until readlink /proc/"$writer"/fd/* | grep -q /pg_wal/; do
  kill -0 $server || fail "the server ended: $(tail -1 server.log)"
done
ln -s ready ready
exec 9< go 9<&-
ask 'fetch 1 from c;' 1
[ "$(session -c 'select count(*) from t')" = 1 ] || fail "the transaction is visible after the restore"
[ "$(session -c 'select pg_try_advisory_lock(77)')" = f ] || fail "the lock of the session is free"
ask 'insert into t values (5001); commit; select sum(n) from t;' 12507501
[ "$(session -c 'select count(*) from t')" = 5002 ] || fail "the transaction was not committed"
echo '\q' >&"${PSQL[1]}"
wait "$PSQL_PID"
kill -INT $server
wait $server || fail "the server ended with $?: $(tail -1 server.log)"
ln -s pass verdict
"#;

/// The folder of the server's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .find(|folder| folder.join("postgres").is_file())
        .unwrap_or_else(|| panic!("PostgreSQL is not installed; `cargo xtask test` installs it"))
}

/// The server refuses to run as root; the package makes it a user.
fn user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let ids: Option<Vec<u32>> = line.map(|line| line.split(':').flat_map(str::parse).take(2).collect());
    match ids.as_deref() {
        Some(&[uid, gid]) => (uid, gid),
        _ => panic!("there is no user postgres"),
    }
}

fn run(tcp: bool, with_checkpoint: bool) {
    let mut lab = Lab::new();
    let (uid, gid) = user();
    let host = lab.path().to_string_lossy().into_owned();
    // Takes seconds, and is not what is tested.
    let mut make = lab.command(programs().join("initdb"));
    make.args(["-D", "data", "-A", "trust", "-U", "postgres", "--no-sync"])
        .uid(uid)
        .gid(gid);
    let making = reaper::spawn(&mut make).expect("start initdb");
    let made = reaper::wait(making, std::time::Duration::from_secs(120));
    assert_eq!(made, Some(reaper::End::Exit(0)), "initdb");
    let mut command = lab.command("/bin/bash");
    command
        .args(["-c", SCRIPT])
        .env("BIN", programs())
        .env("PORT", free_port().to_string())
        .env("HOST", if tcp { "127.0.0.1" } else { &host })
        .env("LISTEN", if tcp { "127.0.0.1" } else { "" })
        .uid(uid)
        .gid(gid);
    let pid = reaper::spawn(&mut command).expect("start bash");
    let options: &[&str] = if tcp { &["--tcp-established"] } else { &[] };
    scripted(&mut lab, pid, options, &[], with_checkpoint);
}

#[test]
fn postgres_native() {
    run(false, false);
}

#[test]
fn postgres_checkpoint() {
    run(false, true);
}

#[test]
fn postgres_tcp_checkpoint() {
    run(true, true);
}
