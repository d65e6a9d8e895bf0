//! Which plugins are found, refused, overridden, and what they claim.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{directory, find, patched, put};
use criu_loader::{
    FileQuery, GivenOption, LoadError, Loader, Origin, PluginOptions, RefusedBecause, SearchPath, Trust,
};
use criu_plugin_api::{Purpose, Stage};

fn names(loader: &Loader) -> Vec<&str> {
    loader.plugins().map(|plugin| plugin.name.as_str()).collect()
}

fn query<'a>(link: &'a [u8], mode: u32, rdev: u64, purpose: Purpose) -> FileQuery<'a> {
    FileQuery {
        link,
        mode,
        rdev,
        purpose,
        socket: &|| None,
        fs_magic: &|| None,
    }
}

#[test]
fn notes_tell_everything_without_loading() {
    let dir = directory(&["lamp"]);
    let loader = find(&[dir.path()]).unwrap();
    let plugin = loader.plugins().next().unwrap();
    assert_eq!(plugin.name, "lamp");
    assert_eq!(plugin.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(plugin.api, criu_plugin_api::API_VERSION);
    assert_eq!(plugin.description, "Light for tests");
    assert_eq!(plugin.options.len(), 4);
    assert_eq!(plugin.options[0].default.as_deref(), Some("60"));
    assert_eq!(plugin.options[1].default, None);
    let claims = |at: usize| {
        loader.kinds()[at]
            .claims
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(loader.kinds().len(), 4);
    assert_eq!(claims(0), ["chr:240:*", "link:lamp:*", "image:16:lamp.img"]);
    assert!(loader.kinds().iter().all(|kind| !loader.is_loaded(kind.id)));
}

#[test]
fn claims_find_their_kind() {
    let dir = directory(&["lamp"]);
    let loader = find(&[dir.path()]).unwrap();
    let table = loader.table();
    let lamp = loader.kinds()[0].id;
    let device = libc::makedev(240, 7);
    for (file, fits) in [
        (query(b"lamp:1", 0, 0, Purpose::Descriptor), true),
        (query(b"lamp:1", 0, 0, Purpose::Exe), true),
        (query(b"lamp:1", 0, 0, Purpose::Cwd), false),
        (
            query(b"/dev/x", libc::S_IFCHR | 0o600, device, Purpose::Descriptor),
            true,
        ),
        (
            query(b"/dev/x", libc::S_IFCHR | 0o600, device, Purpose::Path),
            false,
        ),
        (
            query(b"/dev/x", libc::S_IFBLK | 0o600, device, Purpose::Descriptor),
            false,
        ),
        (
            query(
                b"/dev/x",
                libc::S_IFCHR,
                libc::makedev(241, 7),
                Purpose::Descriptor,
            ),
            false,
        ),
    ] {
        assert_eq!(table.file_kinds(&file), if fits { vec![lamp] } else { vec![] });
    }
    assert_eq!(table.by_image(16), [lamp]);
    assert_eq!(table.ext_kinds(), [("lamp.img".to_owned(), lamp)]);
    assert!(table.by_image(6).is_empty());
    assert_eq!(table.mapping_kinds(b"/dev/lamp0").len(), 1);
    assert!(table.mapping_kinds(b"/dev/lam").is_empty());
    assert_eq!(table.task_kinds().len(), 1);
    assert_eq!(table.stage_hooks(Stage::Frozen).len(), 1);
    assert!(table.stage_hooks(Stage::Resumed).is_empty());
}

#[test]
fn equal_claims_name_both_plugins_and_files() {
    let dir = directory(&["lamp", "twin"]);
    let error = find(&[dir.path()]).unwrap_err();
    assert!(matches!(error, LoadError::Conflict(_)));
    let text = error.to_string();
    for part in [
        "plugin lamp",
        "plugin twin",
        "libfixture_lamp.so",
        "libfixture_twin.so",
        "chr:240:*",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_later_directory_overrides_an_earlier_one() {
    let (first, second) = (directory(&["lamp", "fuse"]), directory(&["lamp"]));
    let loader = find(&[first.path(), second.path()]).unwrap();
    assert_eq!(names(&loader), ["fuse", "lamp"]);
    let lamp = loader.plugins().find(|plugin| plugin.name == "lamp").unwrap();
    let file = |dir: &Path| Origin::File(dir.canonicalize().unwrap().join("libfixture_lamp.so"));
    assert_eq!(lamp.origin, file(second.path()));
    assert_eq!(lamp.overrides, Some(file(first.path())));
    let explicit = SearchPath {
        system: vec![second.path().to_owned()],
        ..SearchPath::only(vec![first.path().to_owned()], Trust::Anyone)
    };
    let loader = Loader::find(&explicit).unwrap();
    assert_eq!(loader.plugins().nth(1).unwrap().origin, file(first.path()));
}

#[test]
fn one_directory_has_a_plugin_once() {
    let dir = directory(&["lamp"]);
    std::fs::copy(common::fixture("lamp"), dir.path().join("libother.so")).unwrap();
    assert!(matches!(find(&[dir.path()]), Err(LoadError::Twice { name, .. }) if name == "lamp"));
}

#[test]
fn a_missing_directory_is_an_error_only_when_asked_for() {
    let dir = directory(&[]);
    let gone = dir.path().join("gone");
    let error = find(&[&gone]).unwrap_err();
    assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
    let path = SearchPath {
        system: vec![gone.clone()],
        ..SearchPath::only(Vec::new(), Trust::Anyone)
    };
    assert!(names(&Loader::find(&path).unwrap()).is_empty());
    let path = SearchPath {
        env: Some(gone),
        ..SearchPath::only(Vec::new(), Trust::Anyone)
    };
    assert!(matches!(Loader::find(&path), Err(LoadError::Directory { .. })));
}

#[test]
fn other_versions_are_refused_in_one_line() {
    for (from, to, part) in [
        ("api 1.0.0\n", "api 1.9.0\n", "a newer criu is needed"),
        ("api 1.0.0\n", "api 2.0.0\n", "a newer criu is needed"),
        ("api 1.0.0\n", "api 0.9.0\n", "rebuild the plugin"),
        ("api 1.0.0\n", "api x.y.z\n", "not understood"),
        ("abi 1\n", "abi 7\n", "revision 7"),
        ("panic unwind\n", "panic abort!\n", "panic=abort"),
        ("file-kind/1", "file-kind/9", "file-kind/9"),
        ("claim chr:240:*\n", "claim chr:a.b:*\n", "chr:a.b:*"),
        ("claim task:*\n", "claim path:*\n", "does not serve"),
    ] {
        let dir = directory(&[]);
        patched(dir.path(), "lamp", from, to);
        let loader = find(&[dir.path()]).unwrap();
        assert!(names(&loader).is_empty(), "{to}");
        let [refused] = loader.refused() else {
            panic!("{to}: {:?}", loader.refused())
        };
        let line = refused.to_string();
        assert!(
            line.contains(part) && line.contains("lamp") && line.contains("libpatched.so"),
            "{line}"
        );
        assert!(!line.contains('\n') && line.len() < 400, "{line}");
    }
}

#[test]
fn an_older_minor_version_is_used() {
    // The version of this API is the oldest of its major; a plugin with another patch level is as new.
    let dir = directory(&[]);
    patched(dir.path(), "lamp", "api 1.0.0\n", "api 1.0.7\n");
    assert_eq!(names(&find(&[dir.path()]).unwrap()), ["lamp"]);
}

#[test]
fn what_is_no_plugin_is_passed_over() {
    let dir = directory(&["lamp"]);
    std::fs::write(dir.path().join("libtext.so"), "not a library").unwrap();
    std::fs::write(dir.path().join("libempty.so"), "").unwrap();
    std::fs::create_dir(dir.path().join("libdir.so")).unwrap();
    std::fs::copy(common::fixture("lamp"), dir.path().join("notes.txt")).unwrap();
    let fifo = dir.path().join("libfifo.so");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let loader = find(&[dir.path()]).unwrap();
    assert_eq!(names(&loader), ["lamp"]);
    assert!(loader.refused().is_empty(), "{:?}", loader.refused());
}

#[test]
fn a_truncated_plugin_does_no_harm() {
    let whole = std::fs::read(common::fixture("lamp")).unwrap();
    for length in [1, 16, 63, 64, 65, 200, 500, 700, 900, 1100, 1500, 4096] {
        let dir = directory(&["fuse"]);
        std::fs::write(dir.path().join("libcut.so"), &whole[..length]).unwrap();
        let loader = find(&[dir.path()]).unwrap();
        assert_eq!(names(&loader), ["fuse"]);
        // Once its notes are there, it is known for a plugin and refused.
        if length >= 4096 {
            let [refused] = loader.refused() else {
                panic!("{length}: {:?}", loader.refused())
            };
            assert!(refused.to_string().contains("truncated"), "{refused}");
        }
    }
}

#[test]
fn a_pack_says_what_is_used() {
    let dir = directory(&["lamp", "fuse"]);
    let manifest = dir.path().join("criu-pack.toml");
    std::fs::write(
        &manifest,
        "name = \"house\"\nversion = \"3\"\nplugins = [\"lamp\", \"door\"]\n",
    )
    .unwrap();
    let loader = find(&[dir.path()]).unwrap();
    assert_eq!(names(&loader), ["lamp"]);
    assert_eq!(loader.plugins().next().unwrap().pack.as_deref(), Some("house 3"));
    assert!(matches!(loader.refused(), [refused] if refused.name == "door"
        && matches!(refused.why, RefusedBecause::NotInPack)));
    std::fs::write(&manifest, "name = 3").unwrap();
    assert!(matches!(find(&[dir.path()]), Err(LoadError::Manifest { .. })));
}

#[test]
fn with_privilege_only_what_nobody_else_can_change_is_used() {
    let dir = directory(&["lamp"]);
    let me = nix::unistd::getuid().as_raw();
    let find_as = |owner, asked: bool| {
        let mut path = SearchPath::only(Vec::new(), Trust::Owner(owner));
        *(if asked {
            &mut path.explicit
        } else {
            &mut path.system
        }) = vec![dir.path().to_owned()];
        Loader::find(&path)
    };
    let file = dir.path().join("libfixture_lamp.so");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(&file, 0o755);
    assert_eq!(names(&find_as(me, true).unwrap()), ["lamp"]);

    for (path, bad, good) in [(file.as_path(), 0o757, 0o755), (dir.path(), 0o1707, 0o700)] {
        mode(path, bad);
        let error = find_as(me, true).unwrap_err().to_string();
        let shown = path.canonicalize().unwrap();
        assert!(
            error.contains(shown.to_str().unwrap()) && error.contains("chmod o-w"),
            "{error}"
        );
        assert!(
            names(&find_as(me, false).unwrap()).is_empty(),
            "used though {bad:o}"
        );
        assert_eq!(names(&find(&[dir.path()]).unwrap()), ["lamp"]);
        mode(path, good);
    }

    if me == 0 {
        for path in [file.as_path(), dir.path()] {
            std::os::unix::fs::chown(path, Some(4321), None).unwrap();
            let error = find_as(0, true).unwrap_err().to_string();
            assert!(error.contains("user 4321") && error.contains("chown"), "{error}");
            assert_eq!(names(&find_as(4321, true).unwrap()), ["lamp"]);
            std::os::unix::fs::chown(path, Some(0), None).unwrap();
        }
        std::os::unix::fs::chown(&file, None, Some(4321)).unwrap();
        mode(&file, 0o775);
        let error = find_as(0, true).unwrap_err().to_string();
        assert!(
            error.contains("group 4321") && error.contains("chmod g-w"),
            "{error}"
        );
    }
}

#[test]
fn options_are_checked_against_what_is_declared() {
    let dir = directory(&["lamp"]);
    let loader = find(&[dir.path()]).unwrap();
    let given = |text: &str| -> Result<PluginOptions, LoadError> {
        PluginOptions::new(&loader, &[text.parse::<GivenOption>()?])
    };
    let options = given("lamp.watts=100").unwrap();
    assert_eq!(options.get("lamp", "watts").unwrap().as_deref(), Some("100"));
    assert_eq!(options.get("lamp", "colour").unwrap(), None);
    assert_eq!(options.get("lamp", "dim").unwrap().as_deref(), Some("no"));
    assert_eq!(options.get("lamp", "glass").unwrap().as_deref(), Some("4096"));
    assert!(options.get("lamp", "weight").is_err());
    assert_eq!(
        given("lamp.dim=on")
            .unwrap()
            .get("lamp", "dim")
            .unwrap()
            .as_deref(),
        Some("yes")
    );
    for (text, part) in [
        ("lamp.watts=many", "whole number"),
        ("lamp.dim=perhaps", "yes or no"),
        ("lamp.glass=99999999999G", "a size"),
        ("lamp.weight=3", "watts"),
        ("door.open=1", "no plugin door"),
        ("lamp", "PLUGIN.NAME=VALUE"),
        (".x=1", "PLUGIN.NAME=VALUE"),
    ] {
        let error = given(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn nothing_is_linked_into_this_test() {
    assert!(Loader::from_static().unwrap().kinds().is_empty());
    let dir = directory(&[]);
    put(dir.path(), "twin");
    assert_eq!(names(&find(&[dir.path()]).unwrap()), ["twin"]);
}
