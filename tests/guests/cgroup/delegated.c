/* Groups that belong to another user, of both versions: owners and modes of the directory and of its files. */
#include "../cgroup.h"
static void own(const char *h, const char *group, const char *file, mode_t mode)
{
	OK(chown(cg_file(h, group, file), 1234, 4321));
	OK(chmod(cg_file(h, group, file), mode));
}
static void owned(const char *h, const char *group, const char *file, mode_t mode)
{
	struct stat st;
	OK(stat(cg_file(h, group, file), &st));
	EQ(st.st_uid, 1234);
	EQ(st.st_gid, 4321);
	EQ(st.st_mode & 07777, mode);
}
int main(void)
{
	cg_make("name=systemd", "");
	cg_make("", "");
	cg_make("", "sub");
	own("name=systemd", "", "", 0750);
	own("name=systemd", "", "tasks", 0660);
	own("name=systemd", "", "cgroup.procs", 0600);
	own("", "sub", "", 0770);
	own("", "sub", "cgroup.procs", 0664);
	own("", "sub", "cgroup.threads", 0644);
	own("", "sub", "cgroup.subtree_control", 0644);
	cg_enter("name=systemd", "");
	cg_enter("", "sub");
	checkpoint();
	CG_IN("name=systemd", "");
	CG_IN("", "sub");
	owned("name=systemd", "", "", 0750);
	owned("name=systemd", "", "tasks", 0660);
	owned("name=systemd", "", "cgroup.procs", 0600);
	owned("", "sub", "", 0770);
	owned("", "sub", "cgroup.procs", 0664);
	owned("", "sub", "cgroup.threads", 0644);
	owned("", "sub", "cgroup.subtree_control", 0644);
	struct stat st;
	OK(stat(cg_file("", "", ""), &st));
	EQ(st.st_uid, 0);
	EQ(st.st_mode & 07777, 0755);
	return pass();
}
