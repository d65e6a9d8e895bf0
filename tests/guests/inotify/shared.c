/* One group at several numbers and in several processes: what one adds, all see. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(0)), copy = OK(dup(fd)), far = OK(dup2(fd, 40));
	int other = OK(inotify_init1(0));
	touch("f");
	touch("g");
	int f = OK(inotify_add_watch(fd, "f", IN_ATTRIB));
	struct latch there = latch_new(), done = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		OK(close(fd));
		OK(close(other));
		latch_open(there);
		wait_go();
		int g = OK(inotify_add_watch(copy, "g", IN_ATTRIB));
		EQ(g, f + 1);
		OK(chmod("g", 0640));
		latch_open(done);
		_exit(0);
	}
	latch_wait(there);
	const char *before = watched(fd);
	checkpoint();
	CHECK(strlen(before) > 0);
	latch_wait(done);
	reap_ok(child);
	CHECK(same_description(fd, copy));
	CHECK(same_description(fd, far));
	CHECK(!same_description(fd, other));
	STR_EQ(watched(other), "");
	EVENT(far, f + 1, IN_ATTRIB, "");
	OK(chmod("f", 0640));
	EVENT(copy, f, IN_ATTRIB, "");
	quiet(fd);
	OK(inotify_rm_watch(fd, f));
	return pass();
}
