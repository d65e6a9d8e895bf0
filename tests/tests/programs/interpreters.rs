//! python3, node, and a JVM, each with a script that speaks the guests' protocol (`ready`, `go`, `verdict`).

use std::fs;

use super::support::{find, scripted};
use criu_tests::{Lab, reaper};

const PYTHON: &str = r#"
import os, queue, subprocess, threading
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(b"before\n"); child.stdin.flush()
jobs, done = queue.Queue(), queue.Queue()
def work(n):
    while (job := jobs.get()) is not None:
        done.put((n, job * job))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
r, w = os.pipe()
os.write(w, b"in the pipe")
data = {n: str(n) * 3 for n in range(20000)}
f = open("log", "w+"); f.write("one "); f.flush()
os.symlink("ready", "ready")
open("go").close()
def check(ok, what):
    if not ok:
        os.symlink("fail: " + what, "verdict"); os._exit(1)
check(child.stdout.readline() == b"before\n", "the subprocess's output from before")
child.stdin.write(b"after\n"); child.stdin.flush()
check(child.stdout.readline() == b"after\n", "the subprocess answers")
check(os.read(r, 100) == b"in the pipe", "the pipe's content")
check(all(data[n] == str(n) * 3 for n in range(20000)), "the dictionary")
check(all(t.is_alive() for t in threads), "the threads are alive")
[jobs.put(n) for n in range(100)]
check(sorted(done.get(timeout=10)[1] for _ in range(100)) == [n * n for n in range(100)], "the threads work")
[jobs.put(None) for _ in threads]
[t.join(10) for t in threads]
f.write("two"); f.seek(0)
check(f.read() == "one two", "the file")
child.stdin.close()
check(child.wait(10) == 0, "the subprocess ends")
os.symlink("pass", "verdict")
"#;

const NODE: &str = r#"
const fs = require('fs'), http = require('http'), { Worker } = require('worker_threads');
const { spawn } = require('child_process');
function fail(what) { try { fs.symlinkSync('fail: ' + what, 'verdict'); } catch {} process.exit(1); }
let ticks = 0;
setInterval(() => ticks++, 20);
const worker = new Worker("require('worker_threads').parentPort.on('message', m => require('worker_threads').parentPort.postMessage(m * 2))", { eval: true });
const ask = m => new Promise(done => { worker.once('message', done); worker.postMessage(m); });
const cat = spawn('cat', { stdio: ['pipe', 'pipe', 'ignore'] });
const echo = text => new Promise(done => { cat.stdout.once('data', d => done(d.toString())); cat.stdin.write(text); });
const server = http.createServer((q, a) => a.end('you asked ' + q.url));
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const get = path => new Promise((done, no) => http.get({ agent, port: server.address().port, host: '127.0.0.1', path }, r => {
  let text = ''; r.on('data', d => text += d); r.on('end', () => done([text, r.socket]));
}).on('error', no));
server.keepAliveTimeout = 600000;
server.listen(0, '127.0.0.1', async () => {
  const [first] = await get('/one');
  if (first !== 'you asked /one') fail('the first request: ' + first);
  if (await ask(4) !== 8 || await echo('x') !== 'x') fail('before');
  const port = server.address().port, map = new Map([...Array(10000).keys()].map(n => [n, 'v' + n]));
  fs.open('go', 'r', async (error, fd) => {
    if (error) fail('open go: ' + error);
    fs.closeSync(fd);
    setTimeout(() => fail('no answer within 15 s'), 15000);
    try {
      const then = ticks;
      const [text] = await get('/two');
      if (text !== 'you asked /two') fail('the second request: ' + text);
      if (server.address().port !== port) fail('the port');
      if (await ask(21) !== 42) fail('the worker');
      if (await echo('after') !== 'after') fail('the child');
      for (const [n, v] of map) if (v !== 'v' + n) fail('the map');
      while (ticks < then + 3) await new Promise(r => setTimeout(r, 5));
      fs.symlinkSync('pass', 'verdict');
      cat.stdin.end();
      cat.once('close', () => process.exit(0));
    } catch (e) { fail('' + e); }
  });
  fs.symlinkSync('ready', 'ready');
});
"#;

const JAVA: &str = r#"
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
public class Guest {
    static void verdict(String text) throws Exception { Files.createSymbolicLink(Path.of("verdict"), Path.of(text)); }
    public static void main(String[] args) throws Exception {
        var counters = new AtomicLong[40];
        var inbox = new LinkedBlockingQueue<Integer>();
        var outbox = new LinkedBlockingQueue<Integer>();
        for (int i = 0; i < 40; i++) {
            var counter = counters[i] = new AtomicLong();
            var thread = new Thread(() -> {
                try {
                    while (true) {
                        Integer job = inbox.poll(10, TimeUnit.MILLISECONDS);
                        counter.incrementAndGet();
                        if (job != null) outbox.put(job * job);
                    }
                } catch (InterruptedException e) { }
            });
            thread.setDaemon(true);
            thread.start();
        }
        var map = new HashMap<String, byte[]>();
        for (int i = 0; i < 5000; i++) map.put("key" + i, new byte[] { (byte) i, (byte) (i >> 8) });
        Files.createSymbolicLink(Path.of("ready"), Path.of("ready"));
        Files.newInputStream(Path.of("go")).close();
        var before = new long[40];
        for (int i = 0; i < 40; i++) before[i] = counters[i].get();
        for (int i = 0; i < 200; i++) inbox.put(i);
        long sum = 0, expected = 0;
        for (int i = 0; i < 200; i++) {
            Integer got = outbox.poll(20, TimeUnit.SECONDS);
            if (got == null) { verdict("fail: only " + i + " jobs were done"); System.exit(1); }
            sum += got;
            expected += (long) i * i;
        }
        if (sum != expected) { verdict("fail: the sum is " + sum); System.exit(1); }
        long limit = System.nanoTime() + 20_000_000_000L;
        for (int i = 0; i < 40; i++)
            while (counters[i].get() <= before[i]) {
                if (System.nanoTime() > limit) { verdict("fail: thread " + i + " stands still"); System.exit(1); }
                Thread.sleep(1);
            }
        for (int i = 0; i < 5000; i++) {
            byte[] v = map.get("key" + i);
            if (v[0] != (byte) i || v[1] != (byte) (i >> 8)) { verdict("fail: key" + i); System.exit(1); }
        }
        System.gc();
        verdict("pass");
        System.exit(0);
    }
}
"#;

/// A program with a script that speaks the guests' protocol.
struct Script {
    program: &'static str,
    arguments: &'static [&'static str],
    file: &'static str,
    text: &'static str,
    options: &'static [&'static str],
    /// What the comparison of the tree before and after leaves out.
    except: &'static [&'static str],
}

fn run(script: &Script, with_checkpoint: bool) {
    let mut lab = Lab::new();
    fs::write(lab.path().join(script.file), script.text).expect("write the script");
    let mut command = lab.command(find(script.program));
    command
        .args(script.arguments)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", lab.path());
    let pid = reaper::spawn(&mut command).expect("start the program");
    scripted(&mut lab, pid, script.options, script.except, with_checkpoint);
}

fn python(with_checkpoint: bool) {
    let script = Script {
        program: "python3",
        arguments: &["-u", "guest.py"],
        file: "guest.py",
        text: PYTHON,
        options: &[],
        except: &[],
    };
    run(&script, with_checkpoint);
}

fn node(with_checkpoint: bool) {
    let script = Script {
        program: "node",
        arguments: &["guest.js"],
        file: "guest.js",
        text: NODE,
        options: &["--tcp-established"],
        // Its compiler and its collector work on by themselves.
        except: &["mapping"],
    };
    run(&script, with_checkpoint);
}

fn java(with_checkpoint: bool) {
    let script = Script {
        program: "java",
        arguments: &["-Xmx128m", "Guest.java"],
        file: "Guest.java",
        text: JAVA,
        options: &[],
        // As with node; and it sets its filter of core dumps, which the image format has no field for.
        except: &["mapping", "coredump_filter"],
    };
    run(&script, with_checkpoint);
}

#[test]
fn python_native() {
    python(false);
}

#[test]
fn python_checkpoint() {
    python(true);
}

#[test]
fn node_native() {
    node(false);
}

#[test]
fn node_checkpoint() {
    node(true);
}

#[test]
fn java_native() {
    java(false);
}

#[test]
fn java_checkpoint() {
    java(true);
}
