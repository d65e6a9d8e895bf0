//! The tty plugin.
