/* Open files of /proc: the process's own and a general one. */
#include "../guest.h"
int main(void)
{
	char buf[256];
	int own = OK(open("/proc/self/comm", O_RDWR)), sys = OK(open("/proc/sys/kernel/ostype", O_RDONLY)),
	    dir = OK(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
	checkpoint();
	EQ(write(own, "written", 7), 7);
	prctl(PR_GET_NAME, buf);
	STR_EQ(buf, "written");
	EQ(read(sys, buf, 6), 6);
	CHECK(!memcmp(buf, "Linux\n", 6));
	char link[32];
	snprintf(link, sizeof link, "%d", own);
	OK(readlinkat(dir, link, buf, sizeof buf));
	return pass();
}
