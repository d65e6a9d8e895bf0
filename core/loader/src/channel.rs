//! The way to a plugin: started when it is first called, and called no more once it has panicked.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::{CString, c_void};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::NonNull;
use std::rc::Rc;

use criu_plugin_api::hosting::{
    HostCall, Instance, KindChannel, PluginCall, Registration, SYMBOL_PREFIX, ServicesClient, connect,
    current_level, serve_service,
};
use criu_plugin_api::prost::Message;
use criu_plugin_api::wire::Hello;
use criu_plugin_api::{API_VERSION, Error, ErrorCode, Point, Result, Services};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use tracing::debug;

use crate::loader::Origin;

/// The services of the run that is going on. Plugins live longer than a run.
#[derive(Default)]
pub(crate) struct ServiceSlot(RefCell<Option<Rc<dyn Services>>>);

impl ServiceSlot {
    pub(crate) fn set(&self, services: Option<Rc<dyn Services>>) {
        *self.0.borrow_mut() = services;
    }
}

/// The slot as plugins call it.
struct SlotHost(Rc<ServiceSlot>);

impl HostCall for SlotHost {
    fn call(&self, service: u32, request: &[u8]) -> Result<Vec<u8>> {
        let Some(services) = self.0.0.borrow().clone() else {
            return Err(Error::new(format!(
                "service {service} was called outside of a run"
            )));
        };
        // A panic must not reach the plugin's frames: that would end the process on the spot.
        catch_unwind(AssertUnwindSafe(|| serve_service(&*services, service, request)))
            .unwrap_or_else(|_| Err(Error::new(format!("criu itself panicked in service {service}"))))
    }
}

/// A plugin, started or not.
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// Of a built-in one.
    pub(crate) registrations: Vec<&'static Registration>,
    /// The same for a built-in one: a name that lives as long as the program.
    pub(crate) static_name: Option<&'static str>,
    /// Whether its file is of this program's build, by its note.
    pub(crate) same_build: bool,
    slot: Rc<ServiceSlot>,
    started: OnceCell<Result<Box<dyn PluginCall>>>,
    panicked: Cell<bool>,
}

impl Plugin {
    pub(crate) fn new(name: String, origin: Origin, slot: Rc<ServiceSlot>) -> Self {
        Self {
            name,
            origin,
            registrations: Vec::new(),
            static_name: None,
            same_build: false,
            slot,
            started: OnceCell::new(),
            panicked: Cell::new(false),
        }
    }

    /// Starts it, the first time.
    pub(crate) fn start(&self) -> Result<&dyn PluginCall> {
        let started = self.started.get_or_init(|| {
            debug!("starting plugin {} ({})", self.name, self.origin);
            let host = Box::new(SlotHost(Rc::clone(&self.slot)));
            match (&self.origin, self.static_name) {
                (Origin::File(path), _) => open(path, &self.name, self.same_build, host),
                (Origin::BuiltIn, name) => {
                    let services = Rc::new(ServicesClient::new(host));
                    let name = name.unwrap_or("built-in");
                    Instance::new(name, self.registrations.iter().copied(), services)
                        .map(|instance| Box::new(instance) as Box<dyn PluginCall>)
                }
            }
        });
        match started {
            Ok(plugin) => Ok(&**plugin),
            Err(error) => Err(error
                .clone()
                .context(format_args!("starting plugin {} ({})", self.name, self.origin))),
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        matches!(self.started.get(), Some(Ok(_)))
    }

    fn call(&self, point: Point, kind: &str, operation: u32, request: &[u8]) -> Result<Vec<u8>> {
        if self.panicked.get() {
            return Err(Error::new(format!(
                "plugin {} ({}) panicked before and is not called again",
                self.name, self.origin
            )));
        }
        let result = self.start()?.call(point.id(), kind, operation, request);
        if let Err(Error {
            code: ErrorCode::Panicked,
            ..
        }) = &result
        {
            self.panicked.set(true);
        }
        result
    }
}

fn open(path: &Path, name: &str, same_build: bool, host: Box<dyn HostCall>) -> Result<Box<dyn PluginCall>> {
    let symbol_name = CString::new(format!("{SYMBOL_PREFIX}{name}"))
        .map_err(|_| Error::new("the name of the plugin holds a NUL"))?;
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::new("the path of the plugin holds a NUL"));
    }
    // SAFETY: loading runs the constructors of the file, which is one that the notes name as a plugin
    // and that passed the check of trust; it is never unloaded, as its code and thread-locals stay in
    // use.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = ManuallyDrop::new(library.map_err(|error| with_source(&error))?);
    // SAFETY: the symbol is only taken for an address here.
    let symbol = unsafe { library.get::<*mut c_void>(symbol_name.as_bytes_with_nul()) };
    let symbol = symbol.map_err(|error| with_source(&error))?.as_raw_ptr();
    let symbol = NonNull::new(symbol).ok_or_else(|| Error::new("its entry symbol is null"))?;
    let hello = Hello {
        log_level: current_level(),
        api_version: API_VERSION.to_owned(),
    };
    // SAFETY: by its notes the file is a plugin of this revision of the surface, whose symbol of this
    // name is its root header; the library stays loaded. The note says of what build it is.
    unsafe { connect(symbol, same_build, host, &hello.encode_to_vec()) }
}

fn with_source(error: &libloading::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Error::new(text)
}

/// The way to one kind.
pub(crate) struct Channel {
    pub(crate) plugin: Rc<Plugin>,
    pub(crate) point: Point,
    pub(crate) kind: String,
}

impl KindChannel for Channel {
    fn call(&self, operation: u32, request: &[u8]) -> Result<Vec<u8>> {
        self.plugin.call(self.point, &self.kind, operation, request)
    }
}
