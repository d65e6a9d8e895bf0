//! Plugins that are linked in: this test is one.

mod common;

use std::rc::Rc;

use criu_loader::{Loader, Origin, SearchPath, Trust};
use criu_plugin_api::message::FileTarget;
use criu_plugin_api::testing::MockHost;
use criu_plugin_api::{ErrorCode, Host, Verdict};

#[path = "fixtures/lamp.rs"]
mod lamp;

#[test]
fn a_linked_plugin_is_found_and_called_like_any_other() {
    let loader = Loader::from_static().unwrap();
    let plugin = loader.plugins().next().unwrap();
    assert_eq!((plugin.name.as_str(), &plugin.origin), ("lamp", &Origin::BuiltIn));
    assert_eq!(plugin.options.len(), 4);
    let services = Rc::new(MockHost::new());
    loader.set_services(Some(services.clone()));
    let lamp = loader.file_kind(loader.table().by_image(16)[0]).unwrap();
    let host = Host::new(&*services, "test");
    let file = |link: &str| FileTarget {
        link: link.into(),
        ..FileTarget::default()
    };
    assert_eq!(lamp.dump(&host, &file("lamp:other")).unwrap(), Verdict::NotMine);
    let error = lamp.dump(&host, &file("lamp:panic")).unwrap_err();
    assert_eq!(error.code, ErrorCode::Panicked);
    assert!(error.message.contains("plugin lamp"), "{error}");
}

#[test]
fn a_file_overrides_what_is_linked_in() {
    let dir = common::directory(&["lamp"]);
    let loader = Loader::find(&SearchPath::only(vec![dir.path().to_owned()], Trust::Anyone)).unwrap();
    let plugin = loader.plugins().next().unwrap();
    assert!(matches!(plugin.origin, Origin::File(_)));
    assert_eq!(plugin.overrides, Some(Origin::BuiltIn));
    assert_eq!(loader.plugins().count(), 1);
}
