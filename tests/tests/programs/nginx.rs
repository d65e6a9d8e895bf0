//! nginx: a master and two workers, a keep-alive connection that survives, a reload afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::support::{Connection, checkpoint, find, finish, free_port};
use criu_tests::{Lab, processes_of, reaper, until};

/// A request on a connection that stays open.
fn get(c: &mut Connection, path: &str) -> String {
    c.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    let status = c.line();
    assert!(status.contains(" 200 "), "nginx answered {status}");
    let mut length = None;
    loop {
        let line = c.line();
        if line.is_empty() {
            break;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = n.parse().ok();
        }
    }
    String::from_utf8(c.bytes(length.expect("a content length"))).expect("text")
}

fn run(with_checkpoint: bool) {
    let lab = Lab::new();
    let port = free_port();
    let root = lab.path().join("www");
    fs::create_dir(&root).expect("make the folder");
    fs::write(root.join("page"), "the page").expect("write the page");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("open the folder");
    let dir = lab.path().display();
    let conf = format!(
        "daemon off; master_process on; worker_processes 2; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; keepalive_timeout 600s; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2;\n\
         fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
         server {{ listen 127.0.0.1:{port}; root {dir}/www; }} }}\n"
    );
    fs::write(lab.path().join("nginx.conf"), conf).expect("write the configuration");
    let mut command = lab.command(find("nginx"));
    command
        .arg("-p")
        .arg(lab.path())
        .arg("-c")
        .arg(lab.path().join("nginx.conf"));
    let pid = reaper::spawn(&mut command).expect("start nginx");
    let mut kept = Connection::open(port);
    assert_eq!(get(&mut kept, "/page"), "the page");
    let all = || processes_of(lab.path()).len();
    until("nginx has its workers", Duration::from_secs(10), || {
        (all() == 3).then_some(())
    });
    if with_checkpoint {
        checkpoint(&lab, pid, &["--tcp-established"], || {
            fs::write(lab.path().join("www/other"), "another page").expect("write a page");
        });
    } else {
        fs::write(lab.path().join("www/other"), "another page").expect("write a page");
    }
    assert_eq!(get(&mut kept, "/page"), "the page");
    assert_eq!(get(&mut kept, "/other"), "another page");
    for _ in 0..10 {
        assert_eq!(get(&mut Connection::open(port), "/page"), "the page");
    }
    // The master is alive too: it replaces a worker that dies.
    let workers: Vec<_> = processes_of(lab.path())
        .into_iter()
        .filter(|p| *p != pid)
        .collect();
    assert_eq!(workers.len(), 2);
    // SAFETY: kill touches no memory; the worker is one of this test's.
    unsafe { libc::kill(workers[0], libc::SIGKILL) };
    until(
        "the master has started another worker",
        Duration::from_secs(20),
        || {
            let now = processes_of(lab.path());
            (now.len() == 3 && !now.contains(&workers[0])).then_some(())
        },
    );
    drop(kept);
    finish(&lab, pid);
}

#[test]
fn nginx_native() {
    run(false);
}

#[test]
fn nginx_checkpoint() {
    run(true);
}
