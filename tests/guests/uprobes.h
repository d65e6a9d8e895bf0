/* A user probe that was met and is gone: what is left of it is the mapping [uprobes]. */
#ifndef UPROBES_H
#define UPROBES_H
#include "guest.h"
#include <linux/perf_event.h>

__attribute__((noinline, noclone)) static int probed(int a)
{
	__asm__ volatile("xor $0, %0" : "+r"(a)); /* one that the kernel does not emulate */
	return a + 1;
}

/* The mapping that an address of the name lies in, or 0. */
static inline unsigned long mapping_named(const char *name)
{
	char line[4096 + 256];
	unsigned long at = 0;
	FILE *f = fopen("/proc/self/maps", "re");
	CHECK(f);
	while (fgets(line, sizeof line, f))
		if (strstr(line, name))
			at = strtoul(line, NULL, 16);
	fclose(f);
	return at;
}

static inline void probe_once(void)
{
	char exe[PATH_MAX] = "", line[PATH_MAX + 256];
	unsigned long at = (unsigned long)probed, offset = 0;
	FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int type = -1;
	if (!f || fscanf(f, "%d", &type) != 1)
		SKIP("the kernel has no user probes");
	fclose(f);
	OK(readlink("/proc/self/exe", exe, sizeof exe - 1));
	CHECK((f = fopen("/proc/self/maps", "re")));
	while (fgets(line, sizeof line, f)) {
		unsigned long a, b, o;
		if (sscanf(line, "%lx-%lx %*s %lx", &a, &b, &o) == 3 && a <= at && at < b)
			offset = at - a + o;
	}
	fclose(f);
	struct perf_event_attr attr = { .size = sizeof attr, .type = type };
	attr.config1 = (uintptr_t)exe; /* uprobe_path */
	attr.config2 = offset; /* probe_offset */
	int fd = syscall(SYS_perf_event_open, &attr, getpid(), -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		SKIP("user probes cannot be set: %s", strerror(errno));
	EQ(probed(1), 2);
	close(fd);
	if (!mapping_named("[uprobes]"))
		SKIP("a user probe leaves no mapping");
}
#endif
