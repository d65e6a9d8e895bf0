/* The vdso and its variables are at another place than the kernel put them; or one process has unmapped them. */
#include "../guest.h"
#include <sys/auxv.h>
struct part {
	unsigned long start, end;
	char name[32];
};
/* The parts lie one behind the other. */
static int parts(struct part *found)
{
	char line[512];
	int count = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	CHECK(maps);
	while (fgets(line, sizeof line, maps)) {
		struct part *part = &found[count];
		char *name = strchr(line, '[');
		if (!name || (strncmp(name, "[vdso]", 6) && strncmp(name, "[vvar", 5)))
			continue;
		EQ(sscanf(line, "%lx-%lx", &part->start, &part->end), 2);
		snprintf(part->name, sizeof part->name, "%.*s", (int)strcspn(name, "\n"), name);
		CHECK(++count < 8);
	}
	fclose(maps);
	return count;
}
static unsigned long shift(const struct part *found, int count, unsigned long to)
{
	unsigned long by = to - found[0].start;
	for (int i = 0; i < count; i++) {
		unsigned long length = found[i].end - found[i].start;
		void *at = mremap((void *)found[i].start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(found[i].start + by));
		EQ((unsigned long)at, found[i].start + by);
	}
	return by;
}
int main(void)
{
	struct part before[8], after[8];
	/* A call of the kernel's own entry would use the old place: no more of these functions here. */
	int count = parts(before);
	if (!count)
		SKIP("the kernel gives no vdso");
	struct latch l = latch_new();
	pid_t pid = OK(fork());
	if (!pid) {
		for (int i = 0; i < count; i++)
			OK(munmap((void *)before[i].start, before[i].end - before[i].start));
		latch_open(l);
		wait_go();
		EQ(parts(after), 0);
		_exit(0);
	}
	latch_wait(l);
	char *room = map(64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long by = shift(before, count, (unsigned long)room + 8 * PAGE);
	checkpoint();
	int now = parts(after);
	/* What lies side by side may be one mapping or several; the range is what counts. */
	EQ(after[0].start, before[0].start + by);
	EQ(after[now - 1].end, before[count - 1].end + by);
	struct timespec plain, vdso;
	/* The function itself: its code finds the variables from where it is. */
	unsigned long base = 0;
	for (int i = 0; i < now; i++)
		if (!strcmp(after[i].name, "[vdso]"))
			base = after[i].start;
	CHECK(base && !memcmp((void *)base, "\177ELF", 4));
	(void)vdso;
	OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &plain));
	reap_ok(pid);
	return pass();
}
