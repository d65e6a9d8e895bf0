//! The events plugin: descriptors that tell a process of something.

mod entry;
pub mod epoll;
pub mod eventfd;
mod fdinfo;
mod features;
pub mod pidfd;
pub mod signalfd;
mod sys;
#[cfg(test)]
mod testing;
pub mod timerfd;
pub mod userfaultfd;

criu_plugin_api::register! {
    kind: eventfd::Eventfd::default(),
    point: FileKind,
    name: "eventfd",
    claims: ["anon:[eventfd]", "image:6"],
}

criu_plugin_api::register! {
    kind: epoll::Epoll::default(),
    point: FileKind,
    name: "epoll",
    claims: ["anon:[eventpoll]", "image:7"],
}

criu_plugin_api::register! {
    kind: signalfd::Signalfd,
    point: FileKind,
    name: "signalfd",
    claims: ["anon:[signalfd]", "image:9"],
}

criu_plugin_api::register! {
    kind: timerfd::Timerfd::default(),
    point: FileKind,
    name: "timerfd",
    claims: ["anon:[timerfd]", "image:17"],
}

criu_plugin_api::register! {
    kind: pidfd::Pidfd::default(),
    point: FileKind,
    name: "pidfd",
    claims: ["anon:[pidfd]", "image:20"],
}

criu_plugin_api::export_plugin! {
    name: "events",
    description: "eventfd, epoll, signalfd, timerfd, pidfd and userfaultfd",
}
