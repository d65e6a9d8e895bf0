//! Labels of security modules.
criu_tests::guests! {
    lsm {
        apparmor (.need(criu_tests::Need::AppArmor)),
        apparmor_other (.need(criu_tests::Need::AppArmor).restore_option("--lsm-profile=apparmor:criu-test-one")),
    }
}
