//! Memory of every kind.
criu_tests::guests! { memory { advice, anonymous, code, copy_on_write, droppable, file_deleted, file_past_end, file_private, file_shared, fixed, given_back, grows_down, guard_regions, heap, huge_hugetlb (.need(criu_tests::Need::HugePages)), huge_transparent, large, locked, many_mappings, mremapped, page_zero, reserved, shared_anonymous, shared_twice, sparse, vdso } }
