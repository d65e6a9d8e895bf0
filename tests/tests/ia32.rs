//! Programs of 32 bits (ia32). Restored ones are born of a 64-bit program, whose vsyscall page they keep.
criu_tests::guests! {
    ia32 {
        forked (.except("mapping")),
        plain (.except("mapping")),
        registers (.except("mapping")),
        signals (.except("mapping")),
        threads (.except("mapping")),
    }
}
