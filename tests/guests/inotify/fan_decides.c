/* A listener that decides on accesses, to a file that nobody else opens. */
#include "../notify.h"
int main(void)
{
	int fd = fan_init(FAN_CLASS_CONTENT, O_RDONLY);
	touch("guarded");
	if (fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, "guarded") && errno == EINVAL)
		SKIP("the kernel has no permission events");
	const char *before = watched(fd);
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	for (int allowed = 0; allowed < 2; allowed++) {
		pid_t child = OK(fork());
		if (!child) {
			int got = open("guarded", O_RDONLY);
			_exit(allowed ? got < 0 : got >= 0 || errno != EPERM);
		}
		struct fanotify_response answer = { FAN_EVENT(fd, FAN_OPEN_PERM), allowed ? FAN_ALLOW : FAN_DENY };
		EQ(write(fd, &answer, sizeof answer), sizeof answer);
		OK(close(answer.fd));
		reap_ok(child);
	}
	return pass();
}
