//! Infect.
