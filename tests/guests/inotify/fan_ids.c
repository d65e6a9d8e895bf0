/* Groups that report handles, names, threads and pidfds instead of descriptors. */
#include "../notify.h"
#ifndef FAN_REPORT_PIDFD
#define FAN_REPORT_PIDFD 0x80
#endif
#ifndef FAN_REPORT_TARGET_FID
#define FAN_REPORT_TARGET_FID 0x1000
#endif
#ifndef FAN_RENAME
#define FAN_RENAME 0x10000000
#endif
int main(void)
{
	int fid = fan_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
	int names = fan_init(FAN_CLASS_NOTIF | FAN_REPORT_DIR_FID | FAN_REPORT_NAME | FAN_REPORT_FID |
				     FAN_REPORT_TARGET_FID | FAN_NONBLOCK, O_RDONLY);
	int pidfd = fan_init(FAN_CLASS_NOTIF | FAN_REPORT_PIDFD, O_RDONLY);
	int tid = fan_init(FAN_CLASS_NOTIF | FAN_REPORT_TID, O_RDONLY);
	OK(mkdir("d", 0700));
	touch("f");
	OK(fanotify_mark(fid, FAN_MARK_ADD, FAN_ATTRIB | FAN_DELETE_SELF, AT_FDCWD, "f"));
	OK(fanotify_mark(names, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_ONDIR, AT_FDCWD, "d"));
	OK(fanotify_mark(pidfd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "f"));
	OK(fanotify_mark(tid, FAN_MARK_ADD, FAN_CLOSE_NOWRITE, AT_FDCWD, "f"));
	const char *before[4] = { watched(fid), watched(names), watched(pidfd), watched(tid) };
	checkpoint();
	STR_EQ(watched(fid), before[0]);
	STR_EQ(watched(names), before[1]);
	STR_EQ(watched(pidfd), before[2]);
	STR_EQ(watched(tid), before[3]);
	quiet(fid);
	quiet(names);
	quiet(pidfd);
	quiet(tid);
	OK(chmod("f", 0640));
	EQ(FAN_EVENT(fid, FAN_ATTRIB), FAN_NOFD);
	OK(mkdir("d/sub", 0700));
	EQ(FAN_EVENT(names, FAN_CREATE | FAN_ONDIR), FAN_NOFD);
	OK(rename("d/sub", "d/other"));
	EQ(FAN_EVENT(names, FAN_RENAME | FAN_ONDIR), FAN_NOFD);
	close(OK(open("f", O_RDONLY)));
	CHECK(FAN_EVENT(pidfd, FAN_OPEN) >= 0);
	return pass();
}
