/* Classes, unlimited queues and marks, flags of the descriptor and of those that come with events. */
#include "../notify.h"
int main(void)
{
	int plain = fan_init(FAN_CLASS_NOTIF, O_RDONLY);
	int cloexec = fan_init(FAN_CLOEXEC | FAN_NONBLOCK | FAN_CLASS_CONTENT, O_RDWR | O_LARGEFILE | O_CLOEXEC);
	int pre = fan_init(FAN_CLASS_PRE_CONTENT | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS, O_WRONLY | O_APPEND);
	int late = fan_init(FAN_CLASS_NOTIF, O_RDONLY | O_NONBLOCK | O_NOATIME | O_DSYNC);
	OK(fcntl(late, F_SETFL, O_RDWR | O_NONBLOCK));
	int copy = OK(dup(pre));
	touch("f");
	OK(fanotify_mark(cloexec, FAN_MARK_ADD, FAN_CLOSE_WRITE, AT_FDCWD, "f"));
	const char *before[4] = { watched(plain), watched(cloexec), watched(pre), watched(late) };
	checkpoint();
	STR_EQ(watched(plain), before[0]);
	STR_EQ(watched(cloexec), before[1]);
	STR_EQ(watched(pre), before[2]);
	STR_EQ(watched(late), before[3]);
	EQ(fcntl(plain, F_GETFD), 0);
	EQ(fcntl(cloexec, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(plain, F_GETFL), O_RDWR);
	EQ(fcntl(cloexec, F_GETFL), O_RDWR | O_NONBLOCK);
	EQ(fcntl(late, F_GETFL), O_RDWR | O_NONBLOCK);
	CHECK(same_description(pre, copy));
	append("f");
	int seen = FAN_EVENT(cloexec, FAN_CLOSE_WRITE);
	EQ(fcntl(seen, F_GETFL) & O_ACCMODE, O_RDWR);
	EQ(fcntl(seen, F_GETFD), FD_CLOEXEC);
	return pass();
}
