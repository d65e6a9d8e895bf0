//! The files plugin: everything that is reached by a path, deleted files, and locks on files.

mod features;
mod images;
pub mod locks;
pub mod namespace;
mod overlay;
mod owners;
pub mod reg;
mod sys;
#[cfg(test)]
mod testing;

use std::rc::Rc;

thread_local! {
    /// One for all registrations: the hook must know what the files have done.
    static REG: Rc<reg::Reg> = Rc::default();
}

criu_plugin_api::register! {
    kind: REG.with(Rc::clone),
    point: FileKind,
    name: "reg",
    claims: [
        "file:reg", "file:dir", "file:lnk", "file:chr", "file:blk",
        // mem, null, port, zero, full, random, urandom; hwrng, btrfs-control, autofs, loop-control
        "chr:1:1", "chr:1:3-5", "chr:1:7", "chr:1:8-9", "chr:10:183", "chr:10:234-235", "chr:10:237",
        "path:*", "image:1",
    ],
}

criu_plugin_api::register! {
    kind: namespace::Namespace,
    point: FileKind,
    name: "namespace",
    claims: [
        "link:net:[*", "link:uts:[*", "link:ipc:[*", "link:mnt:[*", "link:pid:[*", "link:user:[*", "link:cgroup:[*",
        "link:time:[*", "image:14",
    ],
}

criu_plugin_api::register! {
    kind: REG.with(|reg| reg.hook()),
    point: StageHook,
    name: "link-remap",
    claims: ["stage:before-freeze,dumped,before-thaw"],
}

criu_plugin_api::register! {
    kind: locks::Locks::default(),
    point: TaskKind,
    name: "locks",
    claims: ["task:*"],
}

criu_plugin_api::register! {
    kind: owners::Owners,
    point: TaskKind,
    name: "owners",
    claims: ["task:*"],
}

criu_plugin_api::export_plugin! {
    name: "files",
    description: "Regular files, directories, device nodes, files of namespaces, deleted files and file locks",
    options: [
        { name: "lose-dnotify", kind: "bool", default: "no",
          help: "Save directories whose owner (F_SETOWN) may wait for their changes (F_NOTIFY), without that" },
    ],
}
