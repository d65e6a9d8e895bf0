/* A performance event. */
#include "../guest.h"
#include <linux/perf_event.h>
int main(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof attr,
		.config = PERF_COUNT_SW_TASK_CLOCK,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	if (fd < 0)
		SKIP("perf_event_open: %s", strerror(errno));
	EQ(fd, 3);
	checkpoint();
	uint64_t value;
	EQ(read(fd, &value, 8), 8);
	return pass();
}
