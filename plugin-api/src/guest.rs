//! A plugin that has been started: its kinds, and the dispatch of calls to them.

use std::rc::Rc;

use crate::abi::{HostCall, PluginCall};
use crate::guard::guarded;
use crate::host::{Host, Services};
use crate::kinds::{FeatureProbe, FileKind, MappingKind, StageHook, TaskKind};
use crate::message::{FileTarget, MappingRecord, MappingTarget, OpenRequest, TaskInfo};
use crate::register::{Make, PluginDescription, Registration};
use crate::serve::{ServicesClient, serve_feature, serve_file, serve_mapping, serve_stage, serve_task};
use crate::wire::{AttachRequest, Hello, TaskRestoreRequest, decode};
use crate::{Error, ErrorCode, Result, bridge, inventory};

enum Kind {
    File(Box<dyn FileKind>),
    Mapping(Box<dyn MappingKind>),
    Task(Box<dyn TaskKind>),
    Stage(Box<dyn StageHook>),
    Feature(Box<dyn FeatureProbe>),
}

/// A started plugin.
pub struct Instance {
    plugin: &'static str,
    services: Rc<dyn Services>,
    kinds: Vec<(&'static Registration, Kind)>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("plugin", &self.plugin)
            .field("kinds", &self.kinds.len())
            .finish()
    }
}

impl Instance {
    /// Makes the kinds of a plugin that is linked into this program or library.
    ///
    /// # Errors
    /// A constructor panicked.
    pub fn new<'a>(
        plugin: &'static str,
        registrations: impl IntoIterator<Item = &'static Registration> + 'a,
        services: Rc<dyn Services>,
    ) -> Result<Self> {
        let mut kinds = Vec::new();
        for registration in registrations {
            let made = guarded(|| match registration.make {
                Make::File(make) => Kind::File(make()),
                Make::Mapping(make) => Kind::Mapping(make()),
                Make::Task(make) => Kind::Task(make()),
                Make::Stage(make) => Kind::Stage(make()),
                Make::Feature(make) => Kind::Feature(make()),
            });
            let kind = made
                .map_err(|panic| panicked(plugin, &format!("making kind {}", registration.name), &panic))?;
            kinds.push((registration, kind));
        }
        Ok(Self {
            plugin,
            services,
            kinds,
        })
    }

    fn dispatch(&self, point: &str, name: &str, operation: u32, request: &[u8]) -> Result<Vec<u8>> {
        let found = self
            .kinds
            .iter()
            .find(|(known, _)| known.name == name && known.make.point() == point);
        let Some((_, kind)) = found else {
            return Err(Error::unsupported(format!(
                "{point} of kind {name} of plugin {}",
                self.plugin
            )));
        };
        let host = Host::new(&*self.services, self.plugin);
        match kind {
            Kind::File(kind) => serve_file(&**kind, &host, operation, request),
            Kind::Mapping(kind) => serve_mapping(&**kind, &host, operation, request),
            Kind::Task(kind) => serve_task(&**kind, &host, operation, request),
            Kind::Stage(kind) => serve_stage(&**kind, &host, operation, request),
            Kind::Feature(kind) => serve_feature(&**kind, &host, operation, request),
        }
    }
}

impl PluginCall for Instance {
    fn call(&self, point: &str, kind: &str, operation: u32, request: &[u8]) -> Result<Vec<u8>> {
        guarded(|| self.dispatch(point, kind, operation, request)).unwrap_or_else(|panic| {
            let action = format!("kind {kind}: {}", describe(point, operation, request));
            Err(panicked(self.plugin, &action, &panic))
        })
    }
}

fn panicked(plugin: &str, action: &str, panic: &str) -> Error {
    Error {
        code: ErrorCode::Panicked,
        message: format!("plugin {plugin}: {action}: {panic}"),
        remedy: Some("this is a fault of the plugin: report it to its authors".to_owned()),
    }
}

/// What an operation was about, for the report of a panic.
fn describe(point: &str, operation: u32, request: &[u8]) -> String {
    let kind = point.split('/').next().unwrap_or(point);
    let text = match (kind, operation) {
        ("file-kind", 1) => decode::<FileTarget>(request).map(|file| {
            format!(
                "dump of file {} (descriptor {} of process {})",
                file.id, file.fd, file.pid
            )
        }),
        ("file-kind", 2) | ("task-kind", 2) => Ok("end of the dump".to_owned()),
        ("file-kind", 3) | ("task-kind", 3) => Ok("preparation of the restore".to_owned()),
        ("file-kind", 4) => decode::<OpenRequest>(request)
            .map(|asked| format!("opening file {} in process {}", asked.file.id, asked.pid)),
        ("file-kind", 5) => decode::<AttachRequest>(request)
            .map(|asked| format!("completing file {} (descriptor {})", asked.file.id, asked.fd)),
        ("file-kind", 6) => Ok("end of the restore".to_owned()),
        ("file-kind", 7) => {
            decode::<TaskInfo>(request).map(|task| format!("beginning of session {}", task.pid))
        }
        ("mapping-kind", 1) => decode::<MappingTarget>(request).map(|mapping| {
            format!(
                "dump of mapping {} of process {}",
                String::from_utf8_lossy(&mapping.name),
                mapping.pid
            )
        }),
        ("mapping-kind", 2) => decode::<MappingRecord>(request)
            .map(|mapping| format!("restore of a mapping of process {}", mapping.pid)),
        ("task-kind", 1) => decode::<TaskInfo>(request).map(|task| format!("dump of process {}", task.pid)),
        ("task-kind", 4) => decode::<TaskRestoreRequest>(request)
            .map(|asked| format!("restore of process {}", asked.task.pid)),
        _ => Ok(format!("operation {operation} of {point}")),
    };
    text.unwrap_or_else(|_| format!("operation {operation} of {point}"))
}

/// Starts the plugin of this shared object.
pub(crate) fn start(host: Box<dyn HostCall>, hello: &[u8]) -> Result<Instance> {
    let started = guarded(|| {
        let hello: Hello = decode(hello)?;
        let mut found = inventory::iter::<PluginDescription>.into_iter();
        let (Some(description), None) = (found.next(), found.next()) else {
            return Err(Error::new("a shared object must export exactly one plugin"));
        };
        let services: Rc<dyn Services> = Rc::new(ServicesClient::new(host));
        bridge::install(Rc::clone(&services), hello.log_level);
        Instance::new(description.name, inventory::iter::<Registration>, services)
    });
    started.unwrap_or_else(|panic| Err(panicked("?", "start", &panic)))
}
