/* User and group ids of every kind, supplementary groups, capability sets, securebits. */
#include "../guest.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
static struct __user_cap_data_struct before[2], after[2];
static void caps(struct __user_cap_data_struct *d)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	OK(syscall(SYS_capget, &h, d));
}
int main(void)
{
	gid_t groups[] = { 5, 1000, 70000, 4000000 }, got[8];
	uid_t r, e, s;
	OK(setgroups(4, groups));
	OK(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP));
	OK(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT));
	OK(prctl(PR_CAPBSET_DROP, CAP_MKNOD));
	OK(setresgid(2001, 2002, 2003));
	setfsgid(2004);
	OK(setresuid(3001, 3002, 3003));
	setfsuid(3004);
	caps(before);
	before[0].inheritable = 1U << CAP_KILL | 1U << CAP_NET_RAW;
	before[0].effective &= ~(1U << CAP_CHOWN);
	before[0].permitted &= ~(1U << CAP_SYS_MODULE);
	before[0].effective &= before[0].permitted;
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	OK(syscall(SYS_capset, &h, before));
	OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	/* a change of ids made the process undumpable: as a service that drops its rights and wants core files */
	OK(prctl(PR_SET_DUMPABLE, 1));
	checkpoint();
	OK(getresuid(&r, &e, &s));
	EQ(r, 3001); EQ(e, 3002); EQ(s, 3003);
	EQ(setfsuid(-1), 3004);
	OK(getresgid(&r, &e, &s));
	EQ(r, 2001); EQ(e, 2002); EQ(s, 2003);
	EQ(setfsgid(-1), 2004);
	EQ(getgroups(8, got), 4);
	CHECK(!memcmp(got, groups, sizeof groups));
	caps(after);
	CHECK(!memcmp(before, after, sizeof before));
	EQ(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT), 0);
	EQ(prctl(PR_CAPBSET_READ, CAP_MKNOD), 0);
	EQ(prctl(PR_CAPBSET_READ, CAP_KILL), 1);
	EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 1);
	EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_RAW, 0, 0), 0);
	EQ(prctl(PR_GET_SECUREBITS), SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP);
	EQ(prctl(PR_GET_DUMPABLE), 1);
	return pass();
}
