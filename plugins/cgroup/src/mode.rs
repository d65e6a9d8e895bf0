//! `--manage-cgroups`.

use criu_plugin_api::{Error, Host, Result};

/// What is done with control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are left alone, by a dump too.
    Ignore,
    /// They must exist; tasks enter them.
    None,
    /// They must exist, and get their properties.
    Props,
    /// Those that do not exist are made, with their properties.
    Soft,
    /// Those that do not exist are made, and all get their properties.
    Full,
    /// None may exist; all are made, with their properties.
    Strict,
}

impl Mode {
    /// As the user has asked.
    pub(crate) fn of(host: &Host<'_>) -> Result<Self> {
        let word = host.setting("manage-cgroups")?;
        Ok(match word.as_deref() {
            None | Some("ignore") => Self::Ignore,
            Some("none") => Self::None,
            Some("props") => Self::Props,
            Some("soft") => Self::Soft,
            Some("full") => Self::Full,
            Some("strict") => Self::Strict,
            Some(other) => {
                return Err(Error::new(format!(
                    "{other} is no way to manage control groups that is known"
                )));
            }
        })
    }

    /// Whether groups that do not exist are made.
    pub(crate) fn makes(self) -> bool {
        matches!(self, Self::Soft | Self::Full | Self::Strict)
    }

    /// Whether a group gets its properties; `made` if it did not exist before.
    pub(crate) fn sets_properties(self, made: bool) -> bool {
        match self {
            Self::Ignore | Self::None => false,
            Self::Soft => made,
            Self::Props | Self::Full | Self::Strict => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::testing::MockHost;

    #[test]
    fn the_words_are_those_of_the_option() {
        let of = |word: &str| {
            let mut mock = MockHost::new();
            mock.settings
                .insert("manage-cgroups".to_owned(), vec![word.to_owned()]);
            Mode::of(&Host::new(&mock, "cgroup"))
        };
        assert_eq!(of("soft").unwrap(), Mode::Soft);
        assert_eq!(of("ignore").unwrap(), Mode::Ignore);
        assert!(of("sloppy").is_err());
        assert_eq!(
            Mode::of(&Host::new(&MockHost::new(), "cgroup")).unwrap(),
            Mode::Ignore
        );
    }

    #[test]
    fn properties_go_to_what_the_mode_says() {
        let sets = |mode: Mode| (mode.sets_properties(true), mode.sets_properties(false));
        assert_eq!(sets(Mode::None), (false, false));
        assert_eq!(sets(Mode::Soft), (true, false));
        assert_eq!(sets(Mode::Props), (true, true));
        assert_eq!(sets(Mode::Full), (true, true));
        assert!(!Mode::Props.makes() && !Mode::None.makes() && Mode::Strict.makes());
    }
}
