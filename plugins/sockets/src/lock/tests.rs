//! The lock at work, in network namespaces of the tests' own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::testing;

fn pair(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    (client, server)
}

fn connection(socket: &TcpStream) -> Connection {
    Connection {
        local: socket.local_addr().unwrap(),
        remote: socket.peer_addr().unwrap(),
    }
}

fn passes(client: &mut TcpStream, server: &mut TcpStream) -> bool {
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).is_ok()
}

#[test]
fn exactly_the_connections_of_the_lock_are_held() {
    testing::in_own_network(|| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut held, mut held_end) = pair(address);
            let (mut free, mut free_end) = pair(address);
            let mut lock = Lock::new("criu-test".to_owned()).unwrap();
            assert!(passes(&mut held, &mut held_end));
            lock.add(&[connection(&held)]).unwrap();
            assert!(!passes(&mut held, &mut held_end));
            assert!(passes(&mut free, &mut free_end));
            // The other direction, too.
            held.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            assert!(!passes(&mut held_end, &mut held));
            drop(lock);
            held_end.set_read_timeout(None).unwrap();
            held_end.read_exact(&mut [0]).unwrap();
            assert!(passes(&mut held, &mut held_end));
        }
    });
}

#[test]
fn a_lasting_lock_stays_until_it_is_removed() {
    testing::in_own_network(|| {
        let (mut client, mut server) = pair("127.0.0.1:0");
        let table = lasting_table(4711);
        let mut lock = Lock::new(format!("{table}-dump")).unwrap();
        lock.add(&[connection(&server)]).unwrap();
        // A second dump replaces what the first has left.
        lock.make_lasting(&table).unwrap();
        lock.make_lasting(&table).unwrap();
        drop(lock);
        assert!(!passes(&mut client, &mut server));
        remove(&table).unwrap();
        server.set_read_timeout(None).unwrap();
        assert!(passes(&mut client, &mut server));
        remove(&table).unwrap();
    });
}

#[test]
fn many_connections_fit() {
    testing::in_own_network(|| {
        let connections: Vec<Connection> = (1..=20_000u16)
            .map(|port| Connection {
                local: ([10, 0, 0, 1], port).into(),
                remote: ([10, 0, 0, 2], 80).into(),
            })
            .collect();
        let mut lock = Lock::new("criu-test".to_owned()).unwrap();
        lock.add(&connections).unwrap();
        lock.make_lasting("criu-test-lasting").unwrap();
        remove("criu-test-lasting").unwrap();
    });
}
