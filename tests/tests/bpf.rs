//! Maps of bpf(2).
criu_tests::guests! {
    bpf {
        array,
        hash,
        many,
        pinned (.need(criu_tests::Need::Mounts)),
    }
}
