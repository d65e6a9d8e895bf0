//! The plugins of a run.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use criu_plugin_api::hosting::{
    FeatureClient, FileClient, MappingClient, PluginDescription, REVISION, Registration, StageClient,
    TaskClient,
};
use criu_plugin_api::note::{KindNote, OptionNote, PluginNote};
use criu_plugin_api::{
    API_VERSION, Claim, FeatureProbe, FileKind, MappingKind, Point, Result, Services, StageHook, TaskKind,
    inventory,
};
use tracing::info;

use crate::channel::{Channel, Plugin, ServiceSlot};
use crate::elf::FileNotes;
use crate::error::{LoadError, Refused, RefusedBecause};
use crate::search::SearchPath;
use crate::table::{ClaimTable, check_point};

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A shared object.
    File(PathBuf),
    /// This program.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// A kind, within one [`Loader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindId(usize);

#[cfg(test)]
impl KindId {
    pub(crate) fn for_test(at: usize) -> Self {
        Self(at)
    }
}

impl KindId {
    pub(crate) const fn new(index: usize) -> Self {
        Self(index)
    }

    pub(crate) const fn index(self) -> usize {
        self.0
    }
}

/// What is known of a kind without running it.
#[derive(Debug, Clone)]
pub struct KindInfo {
    /// Its id.
    pub id: KindId,
    /// Its name.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// Where the plugin comes from.
    pub origin: Origin,
    /// Its extension point.
    pub point: Point,
    /// What it claims.
    pub claims: Vec<Claim>,
}

/// What is known of a plugin without running it.
#[derive(Debug, Clone)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of the API it was built with.
    pub api: String,
    /// One line for people.
    pub description: String,
    /// Its options.
    pub options: Vec<OptionNote>,
    /// Where it comes from.
    pub origin: Origin,
    /// Name and version of the pack it belongs to.
    pub pack: Option<String>,
    /// The one that it stands in for.
    pub overrides: Option<Origin>,
    /// Its kinds.
    pub kinds: Vec<KindId>,
}

enum Client {
    File(FileClient<Channel>),
    Mapping(MappingClient<Channel>),
    Task(TaskClient<Channel>),
    Stage(StageClient<Channel>),
    Feature(FeatureClient<Channel>),
}

/// The plugins that were found. One thread at a time; it may be used after a fork.
pub struct Loader {
    plugins: Vec<PluginInfo>,
    started: Vec<Rc<Plugin>>,
    kinds: Vec<KindInfo>,
    clients: Vec<Client>,
    table: ClaimTable,
    refused: Vec<Refused>,
    slot: Rc<ServiceSlot>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("plugins", &self.plugins)
            .field("refused", &self.refused)
            .finish()
    }
}

/// A plugin before it has its place.
struct Found {
    notes: FileNotes,
    origin: Origin,
    pack: Option<String>,
    overrides: Option<Origin>,
    registrations: Vec<&'static Registration>,
    static_name: Option<&'static str>,
}

impl Loader {
    /// Finds the plugins of the directories and those that are linked into this program. Runs no code
    /// of any of them.
    ///
    /// A plugin that does not fit is logged, kept in [`refused`](Self::refused), and not used.
    ///
    /// # Errors
    /// A directory that was asked for cannot be read or trusted, or two plugins claim the same.
    pub fn find(path: &SearchPath) -> std::result::Result<Self, LoadError> {
        let mut scan = path.scan()?;
        let mut found = built_in()?;
        for directory in std::mem::take(&mut scan.directories) {
            for candidate in directory {
                if let Some(why) = unfit(&candidate.notes) {
                    let name = candidate.notes.plugin.name;
                    let refused = Refused {
                        name,
                        file: candidate.file,
                        why,
                    };
                    tracing::warn!("{refused}");
                    scan.refused.push(refused);
                    continue;
                }
                place(
                    &mut found,
                    Found {
                        notes: candidate.notes,
                        origin: Origin::File(candidate.file),
                        pack: candidate.pack,
                        overrides: None,
                        registrations: Vec::new(),
                        static_name: None,
                    },
                );
            }
        }
        found.sort_by(|a, b| a.notes.plugin.name.cmp(&b.notes.plugin.name));
        Self::assemble(found, scan.refused)
    }

    /// The plugins that are linked into this program.
    ///
    /// # Errors
    /// They are not complete, or two claim the same.
    pub fn from_static() -> std::result::Result<Self, LoadError> {
        Self::assemble(built_in()?, Vec::new())
    }

    fn assemble(found: Vec<Found>, refused: Vec<Refused>) -> std::result::Result<Self, LoadError> {
        let slot = Rc::new(ServiceSlot::default());
        let (mut plugins, mut started) = (Vec::new(), Vec::new());
        let (mut kinds, mut clients) = (Vec::new(), Vec::new());
        for Found {
            notes,
            origin,
            pack,
            overrides,
            registrations,
            static_name,
        } in found
        {
            let same_build = notes.plugin.is_of_this_build();
            let PluginNote {
                name,
                version,
                api,
                description,
                options,
                ..
            } = notes.plugin;
            let mut plugin = Plugin::new(name.clone(), origin.clone(), Rc::clone(&slot));
            plugin.registrations = registrations;
            plugin.static_name = static_name;
            plugin.same_build = same_build;
            let plugin = Rc::new(plugin);
            let mut ids = Vec::new();
            for KindNote {
                name: kind,
                point,
                claims,
            } in notes.kinds
            {
                let id = KindId(kinds.len());
                ids.push(id);
                let channel = Channel {
                    plugin: Rc::clone(&plugin),
                    point,
                    kind: kind.clone(),
                };
                clients.push(match point {
                    Point::File => Client::File(FileClient(channel)),
                    Point::Mapping => Client::Mapping(MappingClient(channel)),
                    Point::Task => Client::Task(TaskClient(channel)),
                    Point::Stage => Client::Stage(StageClient(channel)),
                    Point::Feature => Client::Feature(FeatureClient(channel)),
                });
                let plugin = name.clone();
                kinds.push(KindInfo {
                    id,
                    name: kind,
                    plugin,
                    origin: origin.clone(),
                    point,
                    claims,
                });
            }
            plugins.push(PluginInfo {
                name,
                version,
                api,
                description,
                options,
                origin,
                pack,
                overrides,
                kinds: ids,
            });
            started.push(plugin);
        }
        let table = ClaimTable::new(&kinds)?;
        Ok(Self {
            plugins,
            started,
            kinds,
            clients,
            table,
            refused,
            slot,
        })
    }

    /// Gives plugins the services of a run, for as long as the run lasts; `None` at its end.
    pub fn set_services(&self, services: Option<Rc<dyn Services>>) {
        self.slot.set(services);
    }

    /// Starts the plugins of these kinds. To be called before anything is stopped or any namespace is
    /// entered; kinds that are called without it start their plugin then.
    ///
    /// # Errors
    /// A plugin could not be started.
    pub fn load(&self, kinds: &[KindId]) -> Result<()> {
        for id in kinds {
            self.channel(*id).plugin.start()?;
        }
        Ok(())
    }

    /// Starts all plugins.
    ///
    /// # Errors
    /// A plugin could not be started.
    pub fn load_all(&self) -> Result<()> {
        self.started
            .iter()
            .try_for_each(|plugin| plugin.start().map(drop))
    }

    /// Whether the plugin of a kind has been started.
    pub fn is_loaded(&self, kind: KindId) -> bool {
        self.channel(kind).plugin.is_started()
    }

    fn channel(&self, id: KindId) -> &Channel {
        match &self.clients[id.0] {
            Client::File(client) => &client.0,
            Client::Mapping(client) => &client.0,
            Client::Task(client) => &client.0,
            Client::Stage(client) => &client.0,
            Client::Feature(client) => &client.0,
        }
    }

    /// Which kind serves what.
    pub fn table(&self) -> &ClaimTable {
        &self.table
    }

    /// All plugins, in the order of their names.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginInfo> {
        self.plugins.iter()
    }

    /// Plugins that were found and are not used.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// All kinds.
    pub fn kinds(&self) -> &[KindInfo] {
        &self.kinds
    }

    /// A kind.
    pub fn kind(&self, id: KindId) -> &KindInfo {
        &self.kinds[id.0]
    }

    /// A kind of files; `None` when the id is of another extension point. The `Host` of its methods is
    /// not used: the plugin has the services of [`set_services`](Self::set_services).
    pub fn file_kind(&self, id: KindId) -> Option<&dyn FileKind> {
        if let Client::File(client) = &self.clients[id.0] {
            Some(client)
        } else {
            None
        }
    }

    /// A kind of mappings; see [`file_kind`](Self::file_kind).
    pub fn mapping_kind(&self, id: KindId) -> Option<&dyn MappingKind> {
        if let Client::Mapping(client) = &self.clients[id.0] {
            Some(client)
        } else {
            None
        }
    }

    /// A kind of state of tasks; see [`file_kind`](Self::file_kind).
    pub fn task_kind(&self, id: KindId) -> Option<&dyn TaskKind> {
        if let Client::Task(client) = &self.clients[id.0] {
            Some(client)
        } else {
            None
        }
    }

    /// A probe of features; see [`file_kind`](Self::file_kind).
    pub fn feature_probe(&self, id: KindId) -> Option<&dyn FeatureProbe> {
        if let Client::Feature(client) = &self.clients[id.0] {
            Some(client)
        } else {
            None
        }
    }

    /// A hook; see [`file_kind`](Self::file_kind).
    pub fn stage_hook(&self, id: KindId) -> Option<&dyn StageHook> {
        if let Client::Stage(client) = &self.clients[id.0] {
            Some(client)
        } else {
            None
        }
    }
}

/// Puts a plugin in, in place of one of the same name.
fn place(found: &mut Vec<Found>, mut new: Found) {
    let name = &new.notes.plugin.name;
    if let Some(at) = found.iter().position(|known| known.notes.plugin.name == *name) {
        let old = &found[at];
        if same_file(&old.origin, &new.origin) {
            return;
        }
        info!(
            "plugin {name} {} ({}) is used in place of {} ({})",
            new.notes.plugin.version, new.origin, old.notes.plugin.version, old.origin
        );
        new.overrides = Some(old.origin.clone());
        found[at] = new;
    } else {
        found.push(new);
    }
}

/// Whether two plugins are one file, found in a directory that was named twice.
fn same_file(a: &Origin, b: &Origin) -> bool {
    match (a, b) {
        (Origin::File(a), Origin::File(b)) => {
            a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
        }
        _ => false,
    }
}

/// What the notes say that cannot be used.
fn unfit(notes: &FileNotes) -> Option<RefusedBecause> {
    for pair in notes.kinds.windows(2) {
        if (&pair[0].name, pair[0].point) == (&pair[1].name, pair[1].point) {
            return Some(RefusedBecause::KindTwice(pair[0].name.clone()));
        }
    }
    notes
        .kinds
        .iter()
        .find_map(|kind| check_point(kind.point, &kind.name, &kind.claims).err())
}

/// Whether a plugin fits this program.
pub(crate) fn check_version(plugin: &PluginNote) -> std::result::Result<(), RefusedBecause> {
    if plugin.abi != REVISION {
        return Err(RefusedBecause::Abi {
            theirs: plugin.abi,
            ours: REVISION,
        });
    }
    let fits = match (version(&plugin.api), version(API_VERSION)) {
        (Some(theirs), Some(ours)) => {
            if theirs.0 == ours.0 && theirs.1 <= ours.1 {
                None
            } else if theirs > ours {
                Some("a newer criu is needed")
            } else {
                Some("rebuild the plugin")
            }
        }
        _ => Some("its version is not understood"),
    };
    if let Some(remedy) = fits {
        let (theirs, ours) = (plugin.api.clone(), API_VERSION.to_owned());
        return Err(RefusedBecause::Api { theirs, ours, remedy });
    }
    if plugin.unwinds {
        Ok(())
    } else {
        Err(RefusedBecause::Aborts)
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The plugins that are linked into this program, from what they registered when it started.
fn built_in() -> std::result::Result<Vec<Found>, LoadError> {
    let mut found = Vec::new();
    for description in inventory::iter::<PluginDescription> {
        let text = description.note.concat();
        let fail = |why| LoadError::BuiltIn {
            name: description.name.to_owned(),
            why,
        };
        let plugin = PluginNote::parse(text.as_bytes()).map_err(|error| fail(error.into()))?;
        let mut registrations: Vec<_> = inventory::iter::<Registration>
            .into_iter()
            .filter(|kind| kind.package == description.package)
            .collect();
        registrations.sort_by_key(|kind| (kind.name, kind.make.point()));
        let kinds = registrations
            .iter()
            .map(|kind| KindNote::of(kind))
            .collect::<std::result::Result<Vec<_>, _>>();
        let mut kinds = kinds.map_err(|error| fail(error.into()))?;
        kinds.sort_by(|a, b| (&a.name, a.point).cmp(&(&b.name, b.point)));
        let notes = FileNotes { plugin, kinds };
        if let Some(why) = unfit(&notes) {
            return Err(fail(why));
        }
        found.push(Found {
            notes,
            origin: Origin::BuiltIn,
            pack: None,
            overrides: None,
            registrations,
            static_name: Some(description.name),
        });
    }
    let described = |package| {
        inventory::iter::<PluginDescription>
            .into_iter()
            .any(|known| known.package == package)
    };
    if let Some(kind) = inventory::iter::<Registration>
        .into_iter()
        .find(|kind| !described(kind.package))
    {
        let (kind, package) = (kind.name.to_owned(), kind.package.to_owned());
        return Err(LoadError::NoExport { kind, package });
    }
    found.sort_by(|a, b| a.notes.plugin.name.cmp(&b.notes.plugin.name));
    Ok(found)
}
