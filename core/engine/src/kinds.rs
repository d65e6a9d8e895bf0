//! The kinds that serve resources: found and loaded by the loader, asked for by what they claim.

use std::collections::HashSet;
use std::rc::Rc;

use crate::error::Result;
use crate::options::Options;
use criu_plugin_api::message::FileTarget;
use criu_plugin_api::{Error as ApiError, Result as ApiResult};
use criu_plugin_api::{FileKind, MappingKind, Services, Stage, StageHook, TaskKind};

pub(crate) trait Hall {
    fn with(&self, call: &mut dyn FnMut(&dyn Services)) -> bool;
}
#[derive(Debug, Clone)]
pub(crate) struct FileQuery;
impl FileQuery {
    pub(crate) fn of(_t: &FileTarget) -> Self {
        Self
    }
    pub(crate) fn seen(_link: Vec<u8>, _mode: u32, _rdev: u64) -> Self {
        Self
    }
}
pub(crate) struct Kind;
impl Kind {
    pub(crate) fn name(&self) -> &str {
        ""
    }
    pub(crate) fn plugin(&self) -> &str {
        ""
    }
    pub(crate) fn file(&self) -> Result<&dyn FileKind> {
        todo!()
    }
    pub(crate) fn mapping(&self) -> Result<&dyn MappingKind> {
        todo!()
    }
    pub(crate) fn task(&self) -> Result<&dyn TaskKind> {
        todo!()
    }
    pub(crate) fn hook(&self) -> Result<&dyn StageHook> {
        todo!()
    }
    pub(crate) fn as_file(&self) -> Option<&dyn FileKind> {
        todo!()
    }
    pub(crate) fn as_task(&self) -> Option<&dyn TaskKind> {
        todo!()
    }
}
pub(crate) struct Kinds;
impl Kinds {
    pub(crate) fn find(_o: &Options, _h: Rc<dyn Hall>) -> Result<Self> {
        Ok(Self)
    }
    pub(crate) fn load_for(&self, _q: &[FileQuery], _m: &HashSet<Vec<u8>>) -> Result<()> {
        Ok(())
    }
    pub(crate) fn file(&self, _q: &FileQuery) -> Result<Vec<Kind>> {
        Ok(vec![])
    }
    pub(crate) fn mapping(&self, _n: &[u8]) -> Result<Vec<Kind>> {
        Ok(vec![])
    }
    pub(crate) fn tasks(&self) -> Result<Vec<Kind>> {
        Ok(vec![])
    }
    pub(crate) fn loaded(&self) -> Result<Vec<Kind>> {
        Ok(vec![])
    }
    pub(crate) fn hooks(&self, _s: Stage) -> Result<Vec<Kind>> {
        Ok(vec![])
    }
    pub(crate) fn nobody(&self, _q: &FileQuery) -> (String, String) {
        (String::new(), String::new())
    }
    pub(crate) fn plugin_option(&self, _o: &Options, _p: &str, _n: &str) -> ApiResult<Option<String>> {
        Ok(None)
    }
}
pub(crate) fn log(_level: u32, _target: &str, _text: &str) {}
pub(crate) fn settings(o: &Options, name: &str) -> ApiResult<Vec<String>> {
    let _ = ApiError::new("");
    Ok(o.setting(name).into_iter().collect())
}
