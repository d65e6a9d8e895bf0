//! x
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairWindow { pub snd_wl1: u32, pub snd_wnd: u32, pub max_window: u32, pub rcv_wnd: u32, pub rcv_wup: u32 }
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairOption { pub code: u32, pub value: u32 }
