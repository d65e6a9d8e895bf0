//! The surface that crosses between the host and a shared object, revision 1. It never grows.
//!
//! This is the only file that names `abi_stable`. A root module hands over one trait object each way;
//! all else is bytes: encoded messages and numbers of operations (see [`wire`](crate::wire)). A side
//! that does not know a number answers [`ErrorCode::Unsupported`](crate::ErrorCode), and the caller has
//! a default for it, so either side may be older. Another surface would be another revision under
//! another symbol, beside this one. See docs/decisions/plugin-abi.md.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use abi_stable::StableAbi;
use abi_stable::erased_types::TD_Opaque;
use abi_stable::library::{
    __call_root_module_loader, AbiHeaderRef, CheckTypeLayout, LibHeader, LibraryError, RootModule,
    RootModuleResult,
};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RVec};

use crate::wire::{decode_error, encode_error};
use crate::{Error, Result};

/// The revision of this surface; it stands in every plugin's note.
pub const REVISION: u32 = 1;

/// The exported symbol of a plugin is this and the plugin's name.
pub const SYMBOL_PREFIX: &str = "criu_plugin_root_1_";

/// Bytes, or an encoded error.
type Reply = RResult<RVec<u8>, RVec<u8>>;

/// What the host implements.
#[sabi_trait]
pub trait HostAbi {
    /// Calls a service.
    #[sabi(last_prefix_field)]
    fn call(&self, service: u32, request: RSlice<'_, u8>) -> RResult<RVec<u8>, RVec<u8>>;
}

/// What a plugin implements.
#[sabi_trait]
pub trait PluginAbi {
    /// Calls an operation of a kind, under an extension point of this revision.
    #[sabi(last_prefix_field)]
    fn call(
        &self,
        point: RStr<'_>,
        kind: RStr<'_>,
        operation: u32,
        request: RSlice<'_, u8>,
    ) -> RResult<RVec<u8>, RVec<u8>>;
}

type HostObject = HostAbi_TO<'static, RBox<()>>;
type PluginObject = PluginAbi_TO<'static, RBox<()>>;

/// What a plugin exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
pub struct Root {
    /// Starts the plugin: the host's services, an encoded [`Hello`](crate::wire::Hello).
    #[sabi(last_prefix_field)]
    start: extern "C" fn(
        host: HostAbi_TO<'static, RBox<()>>,
        hello: RSlice<'_, u8>,
    ) -> RResult<PluginAbi_TO<'static, RBox<()>>, RVec<u8>>,
}

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}

    const BASE_NAME: &'static str = "criu_plugin";
    const NAME: &'static str = "criu_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

/// The host's side of a connection: what a plugin may ask of it.
pub trait HostCall {
    /// Answers a service. Must not panic: that would end the process.
    ///
    /// # Errors
    /// The service's.
    fn call(&self, service: u32, request: &[u8]) -> Result<Vec<u8>>;
}

/// The plugin's side of a connection: what the host may ask of it.
pub trait PluginCall {
    /// Runs an operation. Must not panic: that would end the process.
    ///
    /// # Errors
    /// The operation's.
    fn call(&self, point: &str, kind: &str, operation: u32, request: &[u8]) -> Result<Vec<u8>>;
}

fn reply(result: Result<Vec<u8>>) -> Reply {
    match result {
        Ok(bytes) => RResult::ROk(bytes.into()),
        Err(error) => RResult::RErr(encode_error(&error).into()),
    }
}

fn unreply(reply: Reply) -> Result<Vec<u8>> {
    match reply {
        RResult::ROk(bytes) => Ok(bytes.into_vec()),
        RResult::RErr(bytes) => Err(decode_error(&bytes)),
    }
}

struct HostSide(Box<dyn HostCall>);

impl HostAbi for HostSide {
    fn call(&self, service: u32, request: RSlice<'_, u8>) -> Reply {
        reply(self.0.call(service, request.as_slice()))
    }
}

struct PluginSide(Box<dyn PluginCall>);

impl PluginAbi for PluginSide {
    fn call(&self, point: RStr<'_>, kind: RStr<'_>, operation: u32, request: RSlice<'_, u8>) -> Reply {
        reply(
            self.0
                .call(point.as_str(), kind.as_str(), operation, request.as_slice()),
        )
    }
}

/// The host, as code in a shared object holds it. Never dropped: what it refers to lives in the host.
struct RemoteHost(ManuallyDrop<HostObject>);

impl HostCall for RemoteHost {
    fn call(&self, service: u32, request: &[u8]) -> Result<Vec<u8>> {
        unreply(self.0.call(service, RSlice::from_slice(request)))
    }
}

/// A plugin, as the host holds it. Never dropped: its code stays loaded until the process ends.
struct RemotePlugin(ManuallyDrop<PluginObject>);

impl PluginCall for RemotePlugin {
    fn call(&self, point: &str, kind: &str, operation: u32, request: &[u8]) -> Result<Vec<u8>> {
        unreply(self.0.call(
            RStr::from_str(point),
            RStr::from_str(kind),
            operation,
            RSlice::from_slice(request),
        ))
    }
}

extern "C" fn start(host: HostObject, hello: RSlice<'_, u8>) -> RResult<PluginObject, RVec<u8>> {
    let host = Box::new(RemoteHost(ManuallyDrop::new(host)));
    match crate::guest::start(host, hello.as_slice()) {
        Ok(plugin) => RResult::ROk(PluginAbi_TO::from_value(PluginSide(Box::new(plugin)), TD_Opaque)),
        Err(error) => RResult::RErr(encode_error(&error).into()),
    }
}

extern "C" fn construct() -> RootModuleResult {
    __call_root_module_loader(|| Root { start }.leak_into_prefix())
}

/// What stands behind the exported symbol of a plugin.
#[repr(transparent)]
#[expect(missing_debug_implementations, reason = "an opaque table of functions")]
pub struct RootHeader(LibHeader);

impl RootHeader {
    /// The one of this revision.
    #[expect(clippy::new_without_default, reason = "only for statics")]
    pub const fn new() -> Self {
        // SAFETY: `construct` returns a `RootRef`, erased.
        Self(unsafe { LibHeader::from_constructor::<RootRef>(construct, CheckTypeLayout::Yes) })
    }
}

/// Starts a loaded plugin. Host side.
///
/// # Errors
/// The library was built with another revision of the surface, or its start failed.
///
/// # Safety
/// `symbol` is the address of the [`RootHeader`] of a plugin which stays loaded for ever. `same_build` only if it was
/// built by the same compiler with this very file: the layout of what it hands over is then not compared.
pub unsafe fn connect(
    symbol: NonNull<c_void>,
    same_build: bool,
    host: Box<dyn HostCall>,
    hello: &[u8],
) -> Result<Box<dyn PluginCall>> {
    // SAFETY: an `AbiHeaderRef` is a transparent reference to the header with which the symbol begins,
    // by the contract of this function; its contents are checked by `upgrade` before they are used.
    let header = unsafe { std::mem::transmute::<NonNull<c_void>, AbiHeaderRef>(symbol) };
    let header = header.upgrade().map_err(|cause| mismatch(&cause))?;
    let root = if same_build {
        // SAFETY: by the contract of this function the types are those of this very file.
        unsafe { header.init_root_module_with_unchecked_layout::<RootRef>() }
    } else {
        header.init_root_module::<RootRef>()
    };
    let root = root.map_err(|cause| mismatch(&cause))?;
    let host = HostAbi_TO::from_value(HostSide(host), TD_Opaque);
    match root.start()(host, RSlice::from_slice(hello)) {
        RResult::ROk(plugin) => Ok(Box::new(RemotePlugin(ManuallyDrop::new(plugin)))),
        RResult::RErr(error) => Err(decode_error(&error)),
    }
}

/// One line of what can be many screens of layouts.
fn mismatch(cause: &LibraryError) -> Error {
    tracing::debug!("the whole mismatch: {cause}");
    let text = cause.to_string();
    let line = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("unknown");
    let mut line = line.to_owned();
    if line.len() > 200 {
        line.truncate((0..=200).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0));
    }
    Error::new(format!(
        "its binary interface is not that of revision {REVISION}: {line}"
    ))
    .with_remedy("rebuild the plugin")
}
