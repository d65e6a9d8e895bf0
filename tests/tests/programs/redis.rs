//! redis-server with connected clients, one of them in the middle of a request.

use super::support::{Connection, checkpoint, find, finish, free_port};
use criu_tests::reaper::{self, Pid};
use criu_tests::{Lab, kill_dumps};

fn ask(c: &mut Connection, request: &str) -> String {
    c.send(&format!("{request}\r\n"));
    reply(c)
}

/// One reply: a status, a number or a string.
fn reply(c: &mut Connection) -> String {
    let first = c.line();
    match first.split_at(1) {
        ("+" | ":", rest) => rest.to_owned(),
        ("$", _) => c.line(),
        _ => panic!("Redis answered {first}"),
    }
}

/// A server without a disk; its process and its port.
fn start(lab: &Lab) -> (Pid, u16) {
    let port = free_port();
    let mut command = lab.command(find("redis-server"));
    let port_text = port.to_string();
    command.args(["--port", &port_text, "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no"]);
    (reaper::spawn(&mut command).expect("start redis-server"), port)
}

fn run(with_checkpoint: bool) {
    let lab = Lab::new();
    let (pid, port) = start(&lab);
    let mut client = Connection::open(port);
    let mut slow = Connection::open(port);
    for n in 0..500 {
        assert_eq!(ask(&mut client, &format!("SET key:{n} value-{n}")), "OK");
    }
    let id = ask(&mut client, "CLIENT ID");
    assert_eq!(ask(&mut slow, "PING"), "PONG");
    // Pipelined requests whose answers nobody has read, and the first half of one more.
    let pipelined: String = (0..1000).map(|_| "INCR counter\r\n").collect();
    client.send(&pipelined);
    slow.send("GET ke");
    if with_checkpoint {
        checkpoint(&lab, pid, &["--tcp-established"], || {
            client.send("INCR counter\r\n");
        });
    } else {
        client.send("INCR counter\r\n");
    }
    for n in 1..=1001 {
        assert_eq!(reply(&mut client), n.to_string());
    }
    slow.send("y:77\r\n");
    assert_eq!(reply(&mut slow), "value-77");
    assert_eq!(ask(&mut client, "CLIENT ID"), id);
    assert_eq!(ask(&mut client, "DBSIZE"), "501");
    for n in 0..500 {
        assert_eq!(ask(&mut client, &format!("GET key:{n}")), format!("value-{n}"));
    }
    let mut fresh = Connection::open(port);
    assert_eq!(ask(&mut fresh, "PING"), "PONG");
    drop((client, slow, fresh));
    finish(&lab, pid);
}

#[test]
fn redis_native() {
    run(false);
}

#[test]
fn redis_checkpoint() {
    run(true);
}

/// Killed at fifty points of a dump the program leaves connections that work: none in repair mode, none behind a
/// firewall rule. Then the server is dumped and restored.
#[test]
fn redis_dump_killed() {
    let lab = Lab::new();
    let (pid, port) = start(&lab);
    let mut clients: Vec<_> = (0..5).map(|_| Connection::open(port)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(ask(client, &format!("SET key:{n} value-{n}")), "OK");
    }
    let mut asked = 0;
    kill_dumps(&lab, pid, &["--tcp-established"], || {
        for client in &mut clients {
            asked += 1;
            assert_eq!(ask(client, "INCR asked").parse::<u32>(), Ok(asked));
        }
        assert_eq!(ask(&mut Connection::open(port), "PING"), "PONG");
    });
    checkpoint(&lab, pid, &["--tcp-established"], || {
        clients
            .iter_mut()
            .for_each(|client| client.send("INCR asked\r\n"));
    });
    let mut answers: Vec<u32> = clients
        .iter_mut()
        .map(|client| reply(client).parse().expect("a number"))
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, (asked + 1..=asked + 5).collect::<Vec<_>>());
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(ask(client, &format!("GET key:{n}")), format!("value-{n}"));
    }
    drop(clients);
    finish(&lab, pid);
}
