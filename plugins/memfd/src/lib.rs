//! The memfd plugin.
