//! What was written by the first revision of the plugin API is understood for ever: its notes, and the
//! bytes of its messages. The literals here are never changed; a test that fails has found an
//! incompatible change.

use criu_loader::{GivenOption, Loader};
use criu_plugin_api::message::{FileImage, FileTarget, OpenRequest, RemoteCall, TaskInfo};
use criu_plugin_api::note::{KindNote, PluginNote};
use criu_plugin_api::wire::{
    AttachRequest, FdRequest, Hello, LogRequest, PrepareReply, PrepareRequest, ProgressReply, VerdictReply,
    decode, decode_error, decode_verdict,
};
use criu_plugin_api::{ErrorCode, Verdict};

const PLUGIN: &[u8] =
    b"plugin lamp\nversion 0.1.0\napi 1.0.0\nabi 1\npanic unwind\ndescription Light for tests\n\
option watts\tint\t=60\tHow bright\noption colour\tstring\t\tWhich light\n\0\0";
const KIND: &[u8] =
    b"kind lamp\npoint file-kind/1\nclaim chr:240:*\nclaim link:lamp:*\nclaim image:16:lamp.img\n\0";

#[test]
fn notes() {
    let plugin = PluginNote::parse(PLUGIN).unwrap();
    assert_eq!(
        (plugin.name.as_str(), plugin.api.as_str(), plugin.abi),
        ("lamp", "1.0.0", 1)
    );
    assert!(plugin.unwinds);
    assert_eq!(plugin.options[0].default.as_deref(), Some("60"));
    assert_eq!(plugin.options[1].default, None);
    let kind = KindNote::parse(KIND).unwrap();
    assert_eq!(kind.point.id(), "file-kind/1");
    assert_eq!(kind.claims.len(), 3);
}

#[test]
fn the_api_has_not_left_its_first_major_version() {
    assert!(criu_plugin_api::API_VERSION.starts_with("1."));
    assert_eq!(criu_plugin_api::hosting::REVISION, 1);
    assert_eq!(criu_plugin_api::hosting::SYMBOL_PREFIX, "criu_plugin_root_1_");
}

#[test]
fn messages_to_plugins() {
    let hello: Hello = decode(b"\x08\x03\x12\x051.0.0").unwrap();
    assert_eq!((hello.log_level, hello.api_version.as_str()), (3, "1.0.0"));
    let file: FileTarget =
        decode(b"\x08\x0c\x10\x07\x18\x03\x20\x09\x28\x06\x32\x01x\x48\xa4\x83\x02\x88\x01\x01\x90\x01\x01")
            .unwrap();
    assert_eq!(
        (file.id, file.pid, file.fd, file.local_fd, file.purpose),
        (12, 7, 3, 9, 6)
    );
    assert_eq!(
        (file.link.as_slice(), file.mode, file.mnt_id, file.cloexec),
        (b"x".as_slice(), 0o100644, -1, true)
    );
    let open: OpenRequest = decode(b"\x0a\x07\x08\x05\x10\x10\x1a\x01e\x10\x07\x20\x02").unwrap();
    assert_eq!(
        (open.file.id, open.file.fd_type, open.pid, open.flags),
        (5, 16, 7, Some(2))
    );
    let prepare: PrepareRequest = decode(b"\x0a\x02\x08\x05\x0a\x02\x08\x06").unwrap();
    assert_eq!(
        prepare.files.iter().map(|file| file.id).collect::<Vec<_>>(),
        [5, 6]
    );
    let attach: AttachRequest = decode(b"\x0a\x02\x08\x05\x10\x06").unwrap();
    assert_eq!((attach.file.id, attach.fd), (5, 3));
    let task: TaskInfo = decode(b"\x08\x07\x10\x01\x2a\x02\x07\x08\x38\x01").unwrap();
    assert_eq!(
        (task.pid, task.ppid, task.threads, task.dead),
        (7, 1, vec![7, 8], true)
    );
}

#[test]
fn messages_from_plugins() {
    let verdict = |bytes: &[u8]| decode_verdict::<FileImage>(bytes.to_vec()).unwrap();
    assert!(
        matches!(verdict(b"\x12\x05\x08\x10\x12\x01e"), Verdict::Entry(image) if image.fd_type == 16 && image.entry == b"e")
    );
    assert_eq!(verdict(b"\x08\x01"), Verdict::NotMine);
    assert!(
        matches!(verdict(b"\x08\x02\x1a\x01o\x22\x01w\x2a\x01r"), Verdict::Refused(refusal)
        if refusal.object == "o" && refusal.what == "w" && refusal.remedy.as_deref() == Some("r"))
    );
    let progress: ProgressReply = decode(b"\x10\x0a\x1a\x04\x08\x09\x10\x06").unwrap();
    assert_eq!(
        (
            progress.waits_for.as_deref(),
            progress.fd,
            progress.also[0].id,
            progress.also[0].fd
        ),
        (None, 5, 9, 6)
    );
    let progress: ProgressReply = decode(b"\x0a\x01w").unwrap();
    assert_eq!(progress.waits_for.as_deref(), Some("w"));
    let plans: PrepareReply = decode(b"\x0a\x08\x08\x05\x10\x02\x18\x01\x20\x07").unwrap();
    let plan = &plans.plans[0];
    assert_eq!(
        (plan.id, plan.group, plan.attach, plan.opener),
        (5, Some(2), true, Some(7))
    );
    let error = decode_error(b"\x08\x02\x12\x01m\x1a\x01r");
    assert_eq!(
        (error.code, error.message.as_str(), error.remedy.as_deref()),
        (ErrorCode::Unsupported, "m", Some("r"))
    );
    let log: LogRequest = decode(b"\x08\x04\x12\x01t\x1a\x01x").unwrap();
    assert_eq!((log.level, log.target.as_str(), log.text.as_str()), (4, "t", "x"));
    let fd: FdRequest = decode(b"\x08\x07\x10\x03").unwrap();
    assert_eq!((fd.pid, fd.fd), (7, 3));
    let call: RemoteCall = decode(b"\x08\x07\x10\x27\x1a\x02\x08\x05").unwrap();
    assert_eq!((call.pid, call.nr, call.args[0].value), (7, 39, 5));
}

#[test]
fn what_a_newer_side_adds_is_passed_over() {
    // Field 100 is none of this revision.
    let reply: VerdictReply = decode(b"\x08\x01\xa2\x06\x03new").unwrap();
    assert_eq!(reply.verdict, 1);
    assert_eq!(decode_error(b"\x08\x63\x12\x01m").code, ErrorCode::Failed);
    assert!(decode_verdict::<FileImage>(b"\x08\x09".to_vec()).is_err());
    let loader = Loader::from_static().unwrap();
    assert!(criu_loader::PluginOptions::new(&loader, &[] as &[GivenOption]).is_ok());
}
