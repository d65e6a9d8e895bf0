//! Which files of a group are its properties.

use criu_plugin_api::{Context, Host, Result};

use crate::spec::{self, Spec};

/// Of each controller, in an order in which they can be written; `*` stands for any text without a dot.
const CONTROLLERS: &[(&str, &[&str])] = &[
    (
        "cpu",
        &[
            "cpu.shares",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "cpu.cfs_burst_us",
            "cpu.rt_period_us",
            "cpu.rt_runtime_us",
            "cpu.uclamp.min",
            "cpu.uclamp.max",
            "cpu.idle",
        ],
    ),
    (
        "memory",
        &[
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.swappiness",
            "memory.soft_limit_in_bytes",
            "memory.move_charge_at_immigrate",
            "memory.oom_control",
            "memory.use_hierarchy",
            "memory.kmem.limit_in_bytes",
            "memory.kmem.tcp.limit_in_bytes",
        ],
    ),
    (
        "cpuset",
        &[
            "cpuset.cpus",
            "cpuset.mems",
            "cpuset.memory_migrate",
            "cpuset.cpu_exclusive",
            "cpuset.mem_exclusive",
            "cpuset.mem_hardwall",
            "cpuset.memory_spread_page",
            "cpuset.memory_spread_slab",
            "cpuset.sched_load_balance",
            "cpuset.sched_relax_domain_level",
        ],
    ),
    (
        "blkio",
        &[
            "blkio.weight",
            "blkio.weight_device",
            "blkio.bfq.weight",
            "blkio.bfq.weight_device",
            "blkio.throttle.read_bps_device",
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_iops_device",
        ],
    ),
    ("freezer", &["freezer.state"]),
    ("devices", &["devices.list"]),
    ("net_cls", &["net_cls.classid"]),
    ("net_prio", &["net_prio.ifpriomap"]),
    ("pids", &["pids.max"]),
    (
        "hugetlb",
        &["hugetlb.*.limit_in_bytes", "hugetlb.*.rsvd.limit_in_bytes"],
    ),
    ("rdma", &["rdma.max"]),
    ("misc", &["misc.max"]),
];

/// Of every group of version 1.
const VERSION_1: &[&str] = &[
    "cgroup.clone_children",
    "notify_on_release",
    "cgroup.procs",
    "tasks",
];

/// Of every group of version 2.
const VERSION_2: &[&str] = &[
    "cgroup.subtree_control",
    "cgroup.max.descendants",
    "cgroup.max.depth",
    "cgroup.freeze",
    "cgroup.type",
    "cgroup.pressure",
    "cpu.weight",
    "cpu.max",
    "cpu.max.burst",
    "cpu.uclamp.min",
    "cpu.uclamp.max",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "cpuset.cpus.exclusive",
    "cpuset.cpus.partition",
    "memory.min",
    "memory.low",
    "memory.high",
    "memory.max",
    "memory.oom.group",
    "memory.swap.high",
    "memory.swap.max",
    "memory.zswap.max",
    "memory.zswap.writeback",
    "io.weight",
    "io.bfq.weight",
    "io.max",
    "io.latency",
    "pids.max",
    "hugetlb.*.max",
    "hugetlb.*.rsvd.max",
    "rdma.max",
    "misc.max",
    "cgroup.procs",
    "cgroup.threads",
];

/// What is saved, as the options say.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    specs: Vec<Spec>,
    only: Vec<String>,
}

impl Properties {
    /// `--cgroup-props`, `--cgroup-props-file`, `--cgroup-dump-controller`.
    pub(crate) fn of(host: &Host<'_>) -> Result<Self> {
        let mut specs = Vec::new();
        // The setting's lines.
        let text = host.settings("cgroup-props")?;
        if !text.is_empty() {
            // In a shell `\n` is often left as it stands.
            let text = text.join("\n").replace("\\n", "\n");
            specs.extend(spec::parse(&text, "--cgroup-props")?);
        }
        if let Some(path) = host.setting("cgroup-props-file")? {
            let text =
                std::fs::read_to_string(&path).context(|| format!("reading --cgroup-props-file {path}"))?;
            specs.extend(spec::parse(&text, &format!("--cgroup-props-file {path}"))?);
        }
        Ok(Self {
            specs,
            only: host.settings("cgroup-dump-controller")?,
        })
    }

    /// Whether a hierarchy is saved at all.
    pub(crate) fn wants(&self, hierarchy: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|name| crate::roots::names_hierarchy(name, hierarchy))
    }

    /// The properties of the groups of a hierarchy, out of the files that one has.
    pub(crate) fn names(&self, hierarchy: &str, files: &[String]) -> Vec<String> {
        let mut wanted = Vec::new();
        for name in hierarchy.split(',') {
            wanted.extend(self.of_controller(name));
        }
        if !hierarchy.is_empty() {
            wanted.extend(VERSION_1.iter().map(|&name| name.to_owned()));
        }
        let mut names: Vec<String> = Vec::new();
        for pattern in &wanted {
            let mut found: Vec<&String> = files.iter().filter(|file| fits(pattern, file)).collect();
            found.sort_unstable();
            for file in found {
                if !names.contains(file) {
                    names.push(file.clone());
                }
            }
        }
        names
    }

    /// Nothing is that of version 2.
    fn of_controller(&self, name: &str) -> Vec<String> {
        let known = CONTROLLERS.iter().find(|(controller, _)| *controller == name);
        let known = match name {
            "" => VERSION_2,
            _ => known.map_or(&[] as &[&str], |(_, known)| known),
        };
        let mut wanted: Vec<String> = known.iter().map(|&name| name.to_owned()).collect();
        for spec in self.specs.iter().filter(|spec| spec.controller == name) {
            if spec.replace {
                wanted.clear();
            }
            wanted.extend(spec.properties.iter().cloned());
        }
        wanted
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|middle| !middle.is_empty() && !middle.contains('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(props: &Properties, hierarchy: &str, files: &[&str]) -> Vec<String> {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        props.names(hierarchy, &files)
    }

    #[test]
    fn only_files_that_are_there() {
        let props = Properties::default();
        let files = [
            "tasks",
            "cpu.shares",
            "cpu.stat",
            "cpuacct.usage",
            "notify_on_release",
        ];
        assert_eq!(
            names(&props, "cpu,cpuacct", &files),
            ["cpu.shares", "notify_on_release", "tasks"]
        );
        let files = [
            "hugetlb.2MB.max",
            "hugetlb.2MB.rsvd.max",
            "hugetlb.2MB.current",
            "cgroup.type",
        ];
        assert_eq!(
            names(&props, "", &files),
            ["cgroup.type", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]
        );
    }

    #[test]
    fn specifications_add_or_replace() {
        let spec = |replace| Properties {
            specs: vec![Spec {
                controller: "cpu".to_owned(),
                replace,
                properties: vec!["cpu.rare".to_owned()],
            }],
            only: Vec::new(),
        };
        let files = ["cpu.rare", "cpu.shares", "tasks"];
        assert_eq!(
            names(&spec(false), "cpu", &files),
            ["cpu.shares", "cpu.rare", "tasks"]
        );
        assert_eq!(names(&spec(true), "cpu", &files), ["cpu.rare", "tasks"]);
    }

    #[test]
    fn only_the_controllers_that_were_named() {
        let props = Properties {
            specs: Vec::new(),
            only: vec!["cpuacct".to_owned(), "systemd".to_owned()],
        };
        assert!(props.wants("cpu,cpuacct") && props.wants("name=systemd"));
        assert!(!props.wants("memory") && !props.wants(""));
        assert!(Properties::default().wants(""));
    }
}
