//! Labels that a security module has put on threads: AppArmor's profiles, SELinux' contexts. They are part of the
//! credentials. See apparmor(7), selinux(8), and proc_pid_attr(5) on how they are read and set.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use criu_proto::images::{CredsEntry, Lsmtype};

use crate::error::{Context, Error, Result};

/// A module whose labels the image format knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Module {
    AppArmor,
    Selinux,
}

/// What AppArmor calls a thread without a profile.
const UNCONFINED: &str = "unconfined";

impl Module {
    /// The one that is active here, if any.
    pub(crate) fn active() -> Option<Self> {
        let enabled = fs::read("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
        if enabled.starts_with(b"Y") {
            return Some(Self::AppArmor);
        }
        // A kernel with SELinux switched off does not have it.
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        known
            .lines()
            .any(|line| line.ends_with("\tselinuxfs"))
            .then_some(Self::Selinux)
    }

    /// As `inventory.img` has it.
    pub(crate) fn lsmtype(module: Option<Self>) -> Lsmtype {
        match module {
            Some(Self::AppArmor) => Lsmtype::Apparmor,
            Some(Self::Selinux) => Lsmtype::Selinux,
            None => Lsmtype::NoLsm,
        }
    }

    fn of_lsmtype(number: i32) -> Option<Self> {
        match Lsmtype::try_from(number) {
            Ok(Lsmtype::Apparmor) => Some(Self::AppArmor),
            Ok(Lsmtype::Selinux) => Some(Self::Selinux),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::AppArmor => "AppArmor",
            Self::Selinux => "SELinux",
        }
    }

    /// The file with a thread's label, below its directory of `/proc`.
    fn file(self) -> &'static str {
        // Where several modules are stacked, the plain one is that of the first (Linux 5.1).
        match self {
            Self::AppArmor if Path::new("/proc/self/attr/apparmor/current").exists() => {
                "attr/apparmor/current"
            }
            _ => "attr/current",
        }
    }

    /// The label in what that file says; none for a thread that is not confined.
    fn parse(self, text: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches(['\0', '\n']);
        let label = match self {
            // The mode follows: "docker-default (enforce)".
            Self::AppArmor => text.rsplit_once(" (").map_or(text, |(name, _)| name),
            Self::Selinux => text,
        };
        let nothing = label.is_empty() || self == Self::AppArmor && label == UNCONFINED;
        (!nothing).then(|| label.to_owned())
    }
}

/// What a thread has: its label, and that of the sockets it makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) profile: Option<String>,
    pub(crate) sockcreate: Option<String>,
}

impl Labels {
    /// Reads them of a thread.
    ///
    /// # Errors
    /// The thread is gone, or the module does not let them be read.
    pub(crate) fn of(module: Option<Module>, pid: i32, tid: i32) -> Result<Self> {
        let Some(module) = module else {
            return Ok(Self::default());
        };
        let read = |file: &str| {
            let path = format!("/proc/{pid}/task/{tid}/{file}");
            fs::read(&path).context(|| format!("reading {path}"))
        };
        let sockcreate = match module {
            Module::AppArmor => None,
            Module::Selinux => module.parse(&read("attr/sockcreate")?),
        };
        Ok(Self {
            profile: module.parse(&read(module.file())?),
            sockcreate,
        })
    }
}

/// A write to a file of a thread's own, by which it gets a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its path.
    pub(crate) path: String,
    /// What is written.
    pub(crate) text: String,
}

/// How the threads of a restored tree come by their labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    active: Option<Module>,
    /// That of the image set.
    saved: Option<Module>,
    /// `--lsm-profile`.
    given: Option<(Module, String)>,
    /// Those of this program, which every task begins with.
    own: Labels,
    /// The profiles that AppArmor knows, where it tells.
    loaded: Option<HashSet<String>>,
}

/// The names in `/sys/kernel/security/apparmor/profiles`: a line each, with the mode.
fn profiles(text: &str) -> HashSet<String> {
    let names = text.lines().filter_map(|line| line.rsplit_once(" ("));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The profile of a label, which may be several, that is not among those. Those of other namespaces are not told.
fn missing<'a>(label: &'a str, loaded: &HashSet<String>) -> Option<&'a str> {
    label
        .split("//&")
        .find(|name| *name != UNCONFINED && !name.starts_with(':') && !loaded.contains(*name))
}

impl Plan {
    /// Looks at what there is here. `lsmtype` is that of the inventory.
    ///
    /// # Errors
    /// `--lsm-profile` names a module that is not active here, or none at all.
    pub(crate) fn new(lsmtype: i32, option: Option<&str>) -> Result<Self> {
        let active = Module::active();
        let own = std::process::id().cast_signed();
        Ok(Self {
            active,
            saved: Module::of_lsmtype(lsmtype),
            given: option.map(|text| given(text, active)).transpose()?,
            own: Labels::of(active, own, own)?,
            loaded: fs::read_to_string("/sys/kernel/security/apparmor/profiles")
                .ok()
                .filter(|_| active == Some(Module::AppArmor))
                .map(|text| profiles(&text)),
        })
    }

    /// The label that a thread is to have; none where it is not confined.
    ///
    /// # Errors
    /// There is no such module here, or no such profile.
    pub(crate) fn wanted(&self, object: &str, creds: &CredsEntry) -> Result<Option<(Module, String)>> {
        let wanted = self.label(object, creds)?;
        let gone = wanted.as_ref().filter(|(module, _)| *module == Module::AppArmor);
        let gone = gone.and_then(|(_, label)| missing(label, self.loaded.as_ref()?));
        if let Some(profile) = gone {
            return Err(Error::refused_but(
                object,
                format!("is to be confined by AppArmor's profile `{profile}`, which is not loaded here"),
                "load it (apparmor_parser -r FILE), or say what the processes are to have with --lsm-profile",
            ));
        }
        Ok(wanted)
    }

    fn label(&self, object: &str, creds: &CredsEntry) -> Result<Option<(Module, String)>> {
        if let Some((module, label)) = &self.given {
            let confined = label != UNCONFINED || *module != Module::AppArmor;
            return Ok(confined.then(|| (*module, label.clone())));
        }
        let Some(label) = creds.lsm_profile.as_deref().filter(|&label| {
            !label.is_empty() && (label != UNCONFINED || self.saved == Some(Module::Selinux))
        }) else {
            return Ok(None);
        };
        match (self.saved.or(self.active), self.active) {
            (Some(saved), Some(active)) if saved == active => Ok(Some((active, label.to_owned()))),
            (saved, _) => {
                let name = saved.map_or("a security module", Module::name);
                Err(Error::refused_but(
                    object,
                    format!("was confined by {name} as `{label}`, and {name} is not active here"),
                    "boot with it, or say what the processes are to have with --lsm-profile; \
                     apparmor:unconfined is nothing",
                ))
            }
        }
    }

    /// What the first thread of a process does before there are others: SELinux does not let threads change their
    /// labels one by one.
    pub(crate) fn before_threads(&self, object: &str, creds: &CredsEntry) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        if self.active != Some(Module::Selinux) {
            return Ok(changes);
        }
        let mut change = |file: &str, wanted: Option<String>, own: &Option<String>| {
            if wanted != *own && wanted.is_some() {
                changes.push(Change {
                    path: format!("/proc/thread-self/{file}"),
                    text: wanted.unwrap_or_default(),
                });
            }
        };
        change(
            "attr/sockcreate",
            creds.lsm_sockcreate.clone(),
            &self.own.sockcreate,
        );
        let label = self.wanted(object, creds)?.map(|(_, label)| label);
        change(Module::Selinux.file(), label, &self.own.profile);
        Ok(changes)
    }

    /// What a thread does at the very end: with AppArmor it may have lost the right to restore itself then.
    pub(crate) fn at_the_end(&self, object: &str, creds: &CredsEntry) -> Result<Option<Change>> {
        if self.active != Some(Module::AppArmor) {
            return Ok(None);
        }
        let label = self.wanted(object, creds)?.map(|(_, label)| label);
        if label == self.own.profile {
            return Ok(None);
        }
        Ok(Some(Change {
            path: format!("/proc/thread-self/{}", Module::AppArmor.file()),
            text: format!("changeprofile {}", label.as_deref().unwrap_or(UNCONFINED)),
        }))
    }
}

/// `--lsm-profile TYPE:NAME`.
fn given(text: &str, active: Option<Module>) -> Result<(Module, String)> {
    let object = || format!("--lsm-profile {text}");
    let (module, label) = match text.split_once(':') {
        Some(("apparmor", label)) => (Module::AppArmor, label),
        Some(("selinux", label)) => (Module::Selinux, label),
        _ => {
            return Err(Error::refused_but(
                object(),
                "names no security module",
                "write apparmor:PROFILE or selinux:CONTEXT",
            ));
        }
    };
    if label.is_empty() || label.contains(['\0', '\n']) {
        return Err(Error::refused(object(), "names no profile"));
    }
    let nothing = module == Module::AppArmor && label == UNCONFINED;
    if active != Some(module) && !nothing {
        return Err(Error::refused_but(
            object(),
            format!("asks for {}, which is not active here", module.name()),
            "boot with it; apparmor:unconfined is nothing",
        ));
    }
    Ok((module, label.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds(profile: &str) -> CredsEntry {
        CredsEntry {
            lsm_profile: Some(profile.to_owned()),
            ..CredsEntry::default()
        }
    }

    fn plan(active: Option<Module>, saved: Option<Module>) -> Plan {
        Plan {
            active,
            saved,
            ..Plan::default()
        }
    }

    #[test]
    fn labels_are_read() {
        let apparmor = |text: &[u8]| Module::AppArmor.parse(text);
        assert_eq!(
            apparmor(b"docker-default (enforce)\n").as_deref(),
            Some("docker-default")
        );
        assert_eq!(apparmor(b"a//&:ns://b (mixed)\n").as_deref(), Some("a//&:ns://b"));
        assert_eq!(
            apparmor(b"/usr/bin/x y (complain)").as_deref(),
            Some("/usr/bin/x y")
        );
        assert_eq!(apparmor(b"unconfined\n"), None);
        let context = b"system_u:system_r:container_t:s0:c1,c2\0";
        assert_eq!(
            Module::Selinux.parse(context).as_deref(),
            Some("system_u:system_r:container_t:s0:c1,c2")
        );
        assert_eq!(Module::Selinux.parse(b""), None);
    }

    #[test]
    fn what_is_active_and_saved_is_set_at_its_time() {
        let plan = plan(Some(Module::AppArmor), Some(Module::AppArmor));
        let change = plan.at_the_end("x", &creds("web")).unwrap().unwrap();
        assert_eq!(change.text, "changeprofile web");
        assert!(change.path.starts_with("/proc/thread-self/attr/"));
        assert_eq!(plan.before_threads("x", &creds("web")).unwrap(), []);
        assert_eq!(plan.at_the_end("x", &CredsEntry::default()).unwrap(), None);

        let selinux = super::tests::plan(Some(Module::Selinux), Some(Module::Selinux));
        let both = CredsEntry {
            lsm_sockcreate: Some("a:b:c".to_owned()),
            ..creds("u:r:t")
        };
        let texts: Vec<String> = selinux
            .before_threads("x", &both)
            .unwrap()
            .into_iter()
            .map(|change| change.text)
            .collect();
        assert_eq!(texts, ["a:b:c", "u:r:t"]);
        assert_eq!(selinux.at_the_end("x", &both).unwrap(), None);
    }

    #[test]
    fn one_who_restores_under_a_profile_does_not_hand_it_down() {
        let mut plan = plan(Some(Module::AppArmor), Some(Module::AppArmor));
        plan.own.profile = Some("criu".to_owned());
        let change = plan.at_the_end("x", &CredsEntry::default()).unwrap().unwrap();
        assert_eq!(change.text, "changeprofile unconfined");
        assert_eq!(plan.at_the_end("x", &creds("criu")).unwrap(), None);
    }

    #[test]
    fn a_label_of_a_module_that_is_not_here_is_refused() {
        for (active, saved) in [
            (None, Some(Module::AppArmor)),
            (None, None),
            (Some(Module::Selinux), Some(Module::AppArmor)),
        ] {
            let error = plan(active, saved)
                .wanted("process 7", &creds("web"))
                .unwrap_err();
            let text = error.to_string();
            assert!(
                text.starts_with("process 7: ") && text.contains("`web`"),
                "{text}"
            );
        }
        assert_eq!(plan(None, None).wanted("x", &creds("unconfined")).unwrap(), None);
        assert_eq!(
            plan(None, None).wanted("x", &CredsEntry::default()).unwrap(),
            None
        );
    }

    #[test]
    fn a_profile_that_is_not_loaded_is_refused() {
        let mut plan = plan(Some(Module::AppArmor), Some(Module::AppArmor));
        plan.loaded = Some(profiles("web (enforce)\nweb//sub (complain)\na b (unconfined)\n"));
        for label in [
            "web",
            "web//sub",
            "a b",
            "web//&a b",
            "web//&unconfined",
            ":ns:other",
        ] {
            assert!(plan.wanted("x", &creds(label)).is_ok(), "{label}");
        }
        for label in ["other", "web//other", "web//&other"] {
            let text = plan.wanted("x", &creds(label)).unwrap_err().to_string();
            assert!(text.contains("not loaded"), "{text}");
        }
        assert_eq!(plan.wanted("x", &CredsEntry::default()).unwrap(), None);
    }

    #[test]
    fn the_option_stands_for_what_was_saved() {
        let mut plan = plan(None, Some(Module::AppArmor));
        plan.given = Some(given("apparmor:unconfined", None).unwrap());
        assert_eq!(plan.wanted("x", &creds("web")).unwrap(), None);
        plan.given = Some(given("apparmor:other:sub", Some(Module::AppArmor)).unwrap());
        let wanted = plan.wanted("x", &creds("web")).unwrap();
        assert_eq!(wanted, Some((Module::AppArmor, "other:sub".to_owned())));
        for (text, active) in [
            ("apparmor:web", None),
            ("apparmor:web", Some(Module::Selinux)),
            ("selinux:u:r:t", Some(Module::AppArmor)),
            ("web", Some(Module::AppArmor)),
            ("smack:web", None),
            ("apparmor:", Some(Module::AppArmor)),
        ] {
            assert!(given(text, active).is_err(), "{text}");
        }
    }
}
