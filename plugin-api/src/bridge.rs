//! Carries `tracing` events of a plugin to the log of the host.
//!
//! Each shared object has its own copy of tracing, so without this its events would go nowhere. The
//! level is that of the host at the start of the plugin; events above it cost one comparison.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::host::Services;

thread_local! {
    /// Plugins are called from one thread; the host's object must not be seen by another.
    static HOST: RefCell<Option<Rc<dyn Services>>> = const { RefCell::new(None) };
}

/// Installs the bridge in this shared object. `level`: 0 off, 1 error ... 5 trace.
pub(crate) fn install(host: Rc<dyn Services>, level: u32) {
    HOST.set(Some(host));
    let bridge = Bridge {
        max: filter(level),
        next: AtomicU64::new(1),
        spans: Mutex::default(),
    };
    // An author who installed a subscriber of their own wants that one.
    let _ = tracing::subscriber::set_global_default(bridge);
}

/// The level of the host's log as the number that [`install`] takes.
pub fn current_level() -> u32 {
    match LevelFilter::current().into_level() {
        None => 0,
        Some(Level::ERROR) => 1,
        Some(Level::WARN) => 2,
        Some(Level::INFO) => 3,
        Some(Level::DEBUG) => 4,
        Some(Level::TRACE) => 5,
    }
}

fn filter(level: u32) -> LevelFilter {
    match level {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

struct Bridge {
    max: LevelFilter,
    next: AtomicU64,
    spans: Mutex<Spans>,
}

#[derive(Default)]
struct Spans {
    /// Few are alive at a time.
    known: Vec<(u64, String, usize)>,
    entered: Vec<u64>,
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

impl Bridge {
    fn spans<R>(&self, change: impl FnOnce(&mut Spans) -> R) -> R {
        change(
            &mut self
                .spans
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.max
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed).max(1);
        let mut line = Line::default();
        span.record(&mut line);
        let text = format!("{}{}", span.metadata().name(), line.fields);
        self.spans(|spans| spans.known.push((id, text, 1)));
        Id::from_non_zero_u64(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut line = Line::default();
        values.record(&mut line);
        let id = span.into_u64();
        self.spans(|spans| {
            if let Some(known) = spans.known.iter_mut().find(|known| known.0 == id) {
                known.1.push_str(&line.fields);
            }
        });
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut text = String::new();
        self.spans(|spans| {
            for id in &spans.entered {
                if let Some(known) = spans.known.iter().find(|known| known.0 == *id) {
                    text.push_str(&known.1);
                    text.push_str(": ");
                }
            }
        });
        text.push_str(&line.message);
        text.push_str(if line.message.is_empty() {
            line.fields.trim_start()
        } else {
            &line.fields
        });
        let level = match *event.metadata().level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG | Level::TRACE => 4,
        };
        let host = HOST.with(|host| host.try_borrow().ok().and_then(|host| host.clone()));
        if let Some(host) = host {
            host.log(level, event.metadata().target(), &text);
        }
    }

    fn enter(&self, span: &Id) {
        self.spans(|spans| spans.entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let id = span.into_u64();
        self.spans(|spans| {
            if let Some(at) = spans.entered.iter().rposition(|entered| *entered == id) {
                spans.entered.remove(at);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        let id = span.into_u64();
        self.spans(|spans| {
            if let Some(known) = spans.known.iter_mut().find(|known| known.0 == id) {
                known.2 += 1;
            }
        });
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let id = span.into_u64();
        self.spans(|spans| {
            let Some(at) = spans.known.iter().position(|known| known.0 == id) else {
                return true;
            };
            spans.known[at].2 -= 1;
            let last = spans.known[at].2 == 0;
            if last {
                spans.known.swap_remove(at);
            }
            last
        })
    }
}
