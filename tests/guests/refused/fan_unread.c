/* A process outside of the tree waits for an answer of this listener, which has not read the question. */
#include "../notify.h"
static void asker(void)
{
	pid_t child = OK(fork());
	if (!child) {
		if (!OK(fork())) {
			close(OK(open("guarded", O_RDONLY)));
			touch("opened");
		}
		_exit(0);
	}
	reap_ok(child);
}
int main(void)
{
	int fd = fan_init(FAN_CLASS_CONTENT, O_RDONLY), n = 0;
	touch("guarded");
	if (fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, "guarded") && errno == EINVAL)
		SKIP("the kernel has no permission events");
	asker();
	while (!n)
		OK(ioctl(fd, FIONREAD, &n));
	checkpoint();
	struct fanotify_response answer = { FAN_EVENT(fd, FAN_OPEN_PERM), FAN_ALLOW };
	EQ(write(fd, &answer, sizeof answer), sizeof answer);
	while (access("opened", F_OK))
		usleep(100);
	return pass();
}
