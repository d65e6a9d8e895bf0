//! Moves one end of a connection into another socket while its peer talks on, and prints what both see.
//!
//! `cargo run -p criu-tcp-repair --example move`, as root.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let mut server = listener.accept()?.0;
    server.write_all(b"written before the move\n")?;

    let paused = criu_tcp_repair::pause(&client)?;
    let (local, remote) = criu_tcp_repair::addresses(&client)?;
    let stream = paused.save()?;
    println!(
        "{local} to {remote}: {}, {} bytes to be read",
        stream.state,
        stream.receive.data.len()
    );
    // From here on a packet from the server would be answered by a reset: a real program has a firewall drop them.
    paused.keep();
    drop(client);

    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    criu_tcp_repair::restore(&socket, local, remote, &stream)?.resume()?;

    let client = TcpStream::from(socket);
    server.write_all(b"written after it\n")?;
    let mut lines = BufReader::new(&client).lines();
    for _ in 0..2 {
        println!(
            "the moved end reads: {}",
            lines.next().ok_or("the connection has ended")??
        );
    }
    Ok(())
}
