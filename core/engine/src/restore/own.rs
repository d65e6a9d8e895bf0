//! What the restoring process has itself and every task inherits: only what differs is set.

use criu_proto::images::CredsEntry;

use crate::error::{Context, Result};

/// The coordinator's own state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) rlimits: Vec<(u64, u64)>,
    pub(crate) policy: u32,
    pub(crate) nice: i32,
    pub(crate) bounding: [u32; 2],
    pub(crate) oom_score_adj: i32,
    pub(crate) loginuid: u32,
    /// Of the root directory.
    pub(crate) root: (u64, u64),
    creds: CredsEntry,
}

impl Own {
    /// Reads it.
    pub(crate) fn read() -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").context(|| "reading /proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix(':')).unwrap_or("").trim()
        };
        let ids = |name| -> Vec<u32> {
            field(name)
                .split_whitespace()
                .filter_map(|w| w.parse().ok())
                .collect()
        };
        let caps = |name| {
            let set = u64::from_str_radix(field(name), 16).unwrap_or(0);
            vec![set as u32, (set >> 32) as u32]
        };
        let (uid, gid) = (ids("Uid"), ids("Gid"));
        let at = |ids: &[u32], i: usize| ids.get(i).copied().unwrap_or(u32::MAX);
        let secbits = super::sys::prctl(libc::PR_GET_SECUREBITS, 0).unwrap_or(0);
        let creds = CredsEntry {
            uid: at(&uid, 0),
            euid: at(&uid, 1),
            suid: at(&uid, 2),
            fsuid: at(&uid, 3),
            gid: at(&gid, 0),
            egid: at(&gid, 1),
            sgid: at(&gid, 2),
            fsgid: at(&gid, 3),
            groups: ids("Groups"),
            cap_inh: caps("CapInh"),
            cap_prm: caps("CapPrm"),
            cap_eff: caps("CapEff"),
            cap_bnd: caps("CapBnd"),
            cap_amb: caps("CapAmb"),
            secbits: u32::try_from(secbits).unwrap_or(0),
            ..CredsEntry::default()
        };
        let number = |path: &str| {
            std::fs::read_to_string(path)
                .ok()
                .and_then(|text| text.trim().parse::<i64>().ok())
                .unwrap_or(0)
        };
        let root = std::fs::metadata("/").context(|| "inspecting /")?;
        use std::os::unix::fs::MetadataExt;
        Ok(Self {
            rlimits: (0..16).map(rlimit).collect(),
            // SAFETY: plain queries of this process.
            policy: unsafe { libc::sched_getscheduler(0) }.cast_unsigned(),
            // SAFETY: as above.
            nice: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
            bounding: [creds.cap_bnd[0], creds.cap_bnd[1]],
            oom_score_adj: i32::try_from(number("/proc/self/oom_score_adj")).unwrap_or(0),
            loginuid: number("/proc/self/loginuid") as u32,
            root: (root.dev(), root.ino()),
            creds,
        })
    }

    /// Whether credentials of an image are those that every task has from its start.
    pub(crate) fn same_creds(&self, wanted: &CredsEntry) -> bool {
        let words = |words: &[u32]| {
            [
                words.first().copied().unwrap_or(0),
                words.get(1).copied().unwrap_or(0),
            ]
        };
        let ids = |c: &CredsEntry| {
            [
                c.uid, c.euid, c.suid, c.fsuid, c.gid, c.egid, c.sgid, c.fsgid, c.secbits,
            ]
        };
        let caps = |c: &CredsEntry| {
            [&c.cap_inh, &c.cap_prm, &c.cap_eff, &c.cap_bnd, &c.cap_amb].map(|set| words(set))
        };
        let groups = |c: &CredsEntry| {
            let mut groups = c.groups.clone();
            groups.sort_unstable();
            groups
        };
        ids(&self.creds) == ids(wanted)
            && caps(&self.creds) == caps(wanted)
            && groups(&self.creds) == groups(wanted)
    }
}

fn rlimit(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives the call; an unknown resource leaves it alone.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}
