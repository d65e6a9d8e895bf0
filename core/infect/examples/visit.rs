//! Stops a process, asks it and its threads about themselves, and lets it go: `visit PID`.

use std::error::Error;

use criu_infect::Tracee;

fn main() -> Result<(), Box<dyn Error>> {
    let pid: i32 = std::env::args().nth(1).ok_or("usage: visit PID")?.parse()?;
    let mut tids = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let tid: i32 = entry?.file_name().to_string_lossy().parse()?;
        if tid != pid {
            tids.push(tid);
        }
    }
    let leader = Tracee::seize(pid)?;
    let mut threads = Tracee::seize_all(&tids)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let mut infected = leader.infect()?;
    let info = infected.process_info()?;
    let handled = info.actions.iter().filter(|a| a.handler > 1).count();
    let states = infected.threads(&mut threads, &tids)?;
    println!(
        "{pid}: {handled} signals handled, break at {:#x}, {} more threads",
        info.brk,
        states.len()
    );
    infected.cure()?.detach()?;
    threads.into_iter().try_for_each(Tracee::detach)?;
    Ok(())
}
